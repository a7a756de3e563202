//! What a run is held to, and how it is shown.

use super::fake::{Fake, Fate, Faults};
use super::{finish, stress};
use crate::html;

#[tokio::test]
async fn an_expectation_stands_in_for_the_rule_about_its_figure() {
    let faults = Faults {
        fate: |member, push| {
            if (member, push) == (1, 3) {
                Fate::Never
            } else {
                Fate::Once
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "room -n 4 --rate 400 --duration 100ms --straggle 100ms";
    let run = async |expect: &str| stress(&fake, &format!("{line} --expect {expect}")).await;
    let report = run("loss<=1,p99<10s").await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.ok && report.expectations.iter().all(|judged| judged.met));
    let report = run("loss=0").await;
    assert_eq!(report.problems, ["expected loss=0, was 1"]);
    let report = run("push_errors=0").await;
    assert_eq!(report.problems, ["1 deliveries were lost"]);
    let report = run("loss<=1,slow_loss=0,change.p50<1s,p50<1us").await;
    assert_eq!(
        report.problems[..2],
        [
            "expected slow_loss=0, this run has no such figure",
            "expected change.p50<1s, this run has no such figure",
        ]
    );
    assert!(report.problems[2].starts_with("expected p50<1us, was "));
}

#[tokio::test]
async fn a_run_ends_at_its_limit() {
    let fake = Fake::start(Faults::default()).await;
    let report = stress(&fake, "idle -n 4 --duration 1h --limit 300ms").await;
    assert_eq!(report.problems, ["the run took longer than 0 s"]);
    assert!(report.interrupted);
}

#[tokio::test]
async fn an_idle_report_splits_process_and_kernel() {
    let fake = Fake::start(Faults::default()).await;
    let report = stress(&fake, "idle -n 100 --duration 50ms --report").await;
    assert_eq!(report.problems, Vec::<String>::new());
    let memory = report.memory.unwrap();
    // This process is the server as well.
    assert_eq!((memory.connections, memory.ends), (100, 2));
    assert!(memory.process_bytes.is_some());
    assert!((memory.kernel_bytes - 2.0 * memory.kernel_bytes_per_end).abs() < 1e-6);
}

#[tokio::test]
async fn the_page_shows_the_run_and_needs_nothing_else() {
    let fake = Fake::start(Faults::default()).await;
    let line = "room -n 4 --rate 200 --duration 1500ms --heartbeat 100ms --expect p99<1us";
    let finished = finish(&fake, line).await;
    let page = html::page(&finished, "halley stress <room> & \"more\"").unwrap();
    for id in [
        "delivery",
        "heartbeat",
        "percentiles",
        "throughput",
        "connections",
        "memory",
        "cpu",
        "files",
        "counts",
        "times",
    ] {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert_eq!(page.matches("<svg role=\"img\"").count(), 8);
    assert!(page.contains("FAILED: expected p99&lt;1us, was "));
    assert!(page.contains("halley stress &lt;room&gt; &amp; &quot;more&quot;"));
    // The name of a namespace is no link.
    let links = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
        assert!(!links.contains(outside), "{outside}");
    }
}
