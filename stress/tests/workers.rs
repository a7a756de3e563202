//! Worker processes and the command line as a user sees them.
//!
//! Setup: this executable plays `halley`: with `stress …` it is the tool, with `stress-worker` one of its workers,
//! which is why it has no test harness. Without arguments it starts a server and runs itself against it.
//! Claim: the results of several processes add up exactly, standard output is one JSON object, and the exit code
//! tells success, loss and misuse apart.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

#[path = "../src/tests/fake.rs"]
#[expect(dead_code, reason = "the faults that are tested within the crate")]
mod fake;

use std::process::{ExitCode, Stdio};

use clap::Parser;
use fake::{Fake, Fate, Faults};
use halley_stress::{StressArgs, WORKER_COMMAND};
use serde_json::Value;
use tokio::process::Command;

#[derive(Parser)]
enum Cli {
    Stress(Box<StressArgs>),
    StressWorker,
}

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    if role.as_deref() != Some("stress") && role.as_deref() != Some(WORKER_COMMAND) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            results_of_processes_add_up().await;
            rooms_span_processes().await;
            storms_and_churn_span_processes().await;
            a_day_is_divided_among_processes().await;
            a_loss_in_one_process_fails_the_run().await;
            many_sources_are_used().await;
            an_expectation_decides_the_exit_code().await;
            misuse_has_its_own_exit_code().await;
            a_page_that_cannot_be_written_does_not_take_the_report_with_it().await;
            workers_open_as_many_files_as_they_may().await;
        });
        println!("test result: ok. 10 passed");
        return ExitCode::SUCCESS;
    }
    match Cli::parse() {
        Cli::Stress(args) => halley_stress::run(&args).unwrap(),
        Cli::StressWorker => halley_stress::worker().unwrap(),
    }
}

async fn stress(line: &str) -> (Option<i32>, Value) {
    started_by(&mut Command::new(std::env::current_exe().unwrap()), line).await
}

/// What came of a command that goes on with the words of the tool.
async fn started_by(command: &mut Command, line: &str) -> (Option<i32>, Value) {
    let output = command
        .args(format!("stress {line}").split_whitespace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report)
}

async fn results_of_processes_add_up() {
    let fake = Fake::start(Faults::default()).await;
    let (flags, http) = (fake.flags(), fake.http);
    let line = format!(
        "room -n 10 --workers 3 --rate 200 --duration 500ms --transport mixed --json {flags} --http http://{http}"
    );
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["tool"]["workers"], 3);
    assert_eq!(report["connections"]["ready"], 10);
    assert_eq!(report["pushes"]["accepted"], 100);
    let deliveries = &report["deliveries"];
    assert_eq!(
        (&deliveries["expected"], &deliveries["received"]),
        (&1000.into(), &1000.into())
    );
    assert_eq!(deliveries["latency"]["count"], 1000);
    assert!(
        deliveries["latency"]["max_us"].as_u64().unwrap() < 10_000_000,
        "one clock for all processes"
    );
}

async fn rooms_span_processes() {
    let fake = Fake::start(Faults::default()).await;
    let (flags, http) = (fake.flags(), fake.http);
    let line = format!(
        "rooms -n 30 --rooms 4 --workers 3 --rate 200 --duration 500ms --json {flags} --http http://{http}"
    );
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    let expected = |room: &Value| {
        let count = |name: &str| room[name].as_u64().unwrap();
        assert_eq!(count("expected"), count("members") * count("pushes"));
        assert_eq!(count("expected"), count("received"));
        count("expected")
    };
    let rooms = report["rooms"]["largest"].as_array().unwrap();
    let sum: u64 = rooms.iter().map(expected).sum();
    assert_eq!(report["deliveries"]["expected"], sum);
}

async fn storms_and_churn_span_processes() {
    let fake = Fake::start(Faults::default()).await;
    let flags = fake.flags();
    let line =
        format!("storm -n 20 --storms 1 --share 0.75 --calm 50ms --workers 2 --json {flags}");
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    let storm = &report["storms"][0];
    assert_eq!(
        (&storm["dropped"], &storm["ready"]),
        (&15.into(), &15.into())
    );
    let line =
        format!("storm --churn -n 4 -c 3 --rate 100 --duration 400ms --workers 2 --json {flags}");
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    let connects = report["churn"]["connects"].as_u64().unwrap();
    assert!((39..=42).contains(&connects), "{report}");
}

async fn a_day_is_divided_among_processes() {
    let fake = Fake::start(Faults::default()).await;
    let (flags, http) = (fake.flags(), fake.http);
    let page = tempfile::NamedTempFile::new().unwrap();
    let line = format!(
        "mixed -n 40 --rooms 3 --workers 2 --turnover 20 --changes 20 --duration 1s --grace 200ms --slow 0.2 \
        --slow-pause 100ms --json --html {} {flags} --http http://{http}",
        page.path().display()
    );
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["deliveries"]["lost"], 0);
    assert!(
        report["deliveries"]["received"].as_u64().unwrap() > 100,
        "{report}"
    );
    assert!(
        report["turnover"]["disconnects"].as_u64().unwrap() > 5,
        "{report}"
    );
    let page = std::fs::read_to_string(page.path()).unwrap();
    assert!(page.contains("id=\"delivery\"") && page.ends_with("</html>\n"));
}

async fn a_loss_in_one_process_fails_the_run() {
    let faults = Faults {
        fate: |member, push| {
            if (member, push) == (7, 3) {
                Fate::Never
            } else {
                Fate::Once
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let (flags, http) = (fake.flags(), fake.http);
    let line = format!(
        "push -n 9 --workers 2 --rate 200 --duration 500ms --straggle 200ms --json {flags} --http http://{http}"
    );
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["deliveries"]["lost"], 1);
    assert_eq!(report["deliveries"]["expected"], 100);
    assert_eq!(report["problems"][0], "1 deliveries were lost");
}

async fn many_sources_are_used() {
    let fake = Fake::start(Faults::default()).await;
    let line = format!(
        "idle -n 12 --workers 2 --sources 5 --duration 200ms --json {}",
        fake.flags()
    );
    let (code, report) = stress(&line).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["connections"]["ready"], 12);
}

async fn an_expectation_decides_the_exit_code() {
    let fake = Fake::start(Faults::default()).await;
    let line = format!("idle -n 3 --duration 50ms --json {}", fake.flags());
    let met = format!("{line} --expect connect_failures=0,handshake.max<10s");
    assert_eq!(stress(&met).await.0, Some(0));
    let (code, report) = stress(&format!("{line} --expect handshake.p50<1us")).await;
    assert_eq!(code, Some(1), "{report}");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(
        problem.starts_with("expected handshake.p50<1us, was "),
        "{problem}"
    );
    assert_eq!(report["expectations"][0]["met"], false);
}

async fn misuse_has_its_own_exit_code() {
    assert_eq!(stress("room --size 3").await.0, Some(2));
    assert_eq!(stress("room --nonsense").await.0, Some(2));
    assert_eq!(stress("room --expect nonsense=0").await.0, Some(2));
}

async fn a_page_that_cannot_be_written_does_not_take_the_report_with_it() {
    let fake = Fake::start(Faults::default()).await;
    // It can be opened, and takes nothing.
    let line = format!(
        "idle -n 3 --duration 50ms --json --html /dev/full {}",
        fake.flags()
    );
    let (code, report) = stress(&line).await;
    assert_ne!(code, Some(0));
    assert_eq!(report["connections"]["ready"], 3);
}

async fn workers_open_as_many_files_as_they_may() {
    let fake = Fake::start(Faults::default()).await;
    let line = format!(
        "idle -n 200 --workers 2 --duration 50ms --json {}",
        fake.flags()
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"ulimit -S -n 64 && exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap());
    let (code, report) = started_by(&mut shell, &line).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["connections"]["ready"], 200);
}
