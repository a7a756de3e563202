//! Whole scenarios against a server that errs exactly as told: the tool must find exactly that.

mod day;
mod fake;
mod heartbeats;
mod judged;
mod rooms;
mod storms;

use std::collections::BTreeMap;

use clap::Parser;

use self::fake::{Answer, Fake, Fate, Faults, Login};
use crate::account::Verdict;
use crate::args::StressArgs;
use crate::report::Report;
use crate::scenario::{self, Finished};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    stress: StressArgs,
}

async fn stress(fake: &Fake, line: &str) -> Report {
    finish(fake, line).await.report
}

async fn finish(fake: &Fake, line: &str) -> Finished {
    let http = if line.starts_with("idle") || line.starts_with("storm") {
        String::new()
    } else {
        format!(" --http http://{}", fake.http)
    };
    let line = format!("halley {line} {}{http}", fake.flags());
    let args = Cli::try_parse_from(line.split_whitespace()).unwrap().stress;
    args.check().unwrap();
    scenario::run(&args).await.unwrap()
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count))
        .collect()
}

fn verdict(report: &Report) -> Verdict {
    report.deliveries.as_ref().unwrap().verdict
}

#[tokio::test]
async fn a_clean_room_is_ok_over_every_transport() {
    let fake = Fake::start(Faults::default()).await;
    for transport in ["tcp", "ws", "mixed"] {
        let line =
            format!("room -n 8 --rate 400 --duration 250ms --threads 2 --transport {transport}");
        let report = stress(&fake, &line).await;
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(report.ok);
        let clean = Verdict {
            expected: 800,
            received: 800,
            ..Verdict::default()
        };
        assert_eq!(verdict(&report), clean);
        let (pushes, deliveries) = (report.pushes.unwrap(), report.deliveries.unwrap());
        assert_eq!(
            (pushes.planned, pushes.sent, pushes.accepted),
            (100, 100, 100)
        );
        assert_eq!((deliveries.latency.count, deliveries.foreign), (800, 0));
        assert_eq!(
            (report.connections.ready, report.heartbeats.answered),
            (8, 8)
        );
        assert_eq!(report.server.pids, [std::process::id()]);
    }
}

#[tokio::test]
async fn finds_exactly_what_a_room_lost_doubled_and_reordered() {
    let faults = Faults {
        fate: |member, push| match (member, push % 20) {
            (0, 3 | 9) => Fate::Never,
            (1, 7) => Fate::Twice,
            (2, 4 | 11 | 15) => Fate::Late,
            (3, 0) => Fate::Cut,
            _ => Fate::Once,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line =
        "room -n 8 --rate 400 --duration 250ms --transport mixed --concurrency 1 --straggle 200ms";
    let report = stress(&fake, line).await;
    let found = Verdict {
        expected: 800,
        received: 785,
        lost: 15,
        duplicated: 5,
        reordered: 15,
        ..Verdict::default()
    };
    assert_eq!(verdict(&report), found);
    let deliveries = report.deliveries.unwrap();
    assert_eq!((deliveries.members_with_loss, deliveries.corrupt), (2, 5));
    assert_eq!(deliveries.latency.count, 785);
    assert!(!report.ok);
}

#[tokio::test]
async fn refused_pushes_are_not_expected() {
    let faults = Faults {
        answer: |push| {
            if push % 5 == 0 {
                Answer::Refuse
            } else {
                Answer::Accept
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let report = stress(&fake, "room -n 4 --rate 400 --duration 250ms").await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(
        (verdict(&report).expected, verdict(&report).received),
        (320, 320)
    );
    let pushes = report.pushes.unwrap();
    assert_eq!(
        (pushes.accepted, pushes.refused),
        (80, counts(&[("503", 20)]))
    );
}

#[tokio::test]
async fn a_refused_push_that_arrives_is_a_fault_and_a_failed_one_is_not() {
    let faults = Faults {
        answer: |push| match push % 10 {
            1 => Answer::RefuseButDeliver,
            2 => Answer::FailButDeliver,
            3 => Answer::Fail,
            _ => Answer::Accept,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let report = stress(&fake, "room -n 4 --rate 400 --duration 250ms").await;
    let found = Verdict {
        expected: 280,
        received: 280,
        unexpected: 40,
        ..Verdict::default()
    };
    assert_eq!(verdict(&report), found);
    assert_eq!(report.pushes.unwrap().errors, counts(&[("code -500", 20)]));
    assert_eq!(
        report.problems,
        ["20 pushes failed", "40 deliveries came of refused pushes"]
    );
}

#[tokio::test]
async fn pushes_to_users_are_accounted_for_by_user() {
    for by in ["keys", "mids"] {
        let fake = Fake::start(Faults::default()).await;
        let line = format!("push -n 10 --rate 400 --duration 250ms --by {by} --transport mixed");
        let report = stress(&fake, &line).await;
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(
            (verdict(&report).expected, verdict(&report).received),
            (100, 100)
        );
    }
    let faults = Faults {
        fate: |member, push| match (member, push) {
            (2, 1) => Fate::Never,
            (3, 4) => Fate::Astray,
            (5, 9) => Fate::Twice,
            _ => Fate::Once,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let report = stress(
        &fake,
        "push -n 10 --rate 400 --duration 250ms --straggle 200ms",
    )
    .await;
    let found = Verdict {
        expected: 100,
        received: 98,
        lost: 2,
        duplicated: 1,
        ..Verdict::default()
    };
    assert_eq!(verdict(&report), found);
    assert_eq!(report.deliveries.unwrap().misrouted, 1);
}

#[tokio::test]
async fn a_closed_loop_pushes_as_fast_as_answers_come() {
    let fake = Fake::start(Faults::default()).await;
    let report = stress(
        &fake,
        "push -n 5 --closed-loop --concurrency 2 --duration 200ms",
    )
    .await;
    assert_eq!(report.problems, Vec::<String>::new());
    let sent = report.pushes.as_ref().unwrap().sent;
    assert!(sent > 5, "{sent}");
    assert_eq!(
        (verdict(&report).expected, verdict(&report).received),
        (sent, sent)
    );
}

#[tokio::test]
async fn idle_connections_are_counted_by_what_became_of_them() {
    let faults = Faults {
        login: |member, _| match member % 10 {
            1 => Login::Close,
            2 => Login::Ignore,
            3 => Login::Drop,
            _ => Login::Answer,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line =
        "idle -n 20 --duration 500ms --heartbeat 100ms --connect-timeout 3s --transport mixed";
    let report = stress(&fake, line).await;
    let connections = &report.connections;
    assert_eq!((connections.wanted, connections.ready), (20, 16));
    assert_eq!(
        connections.failures,
        counts(&[("login: closed by the server", 2), ("timed out", 2)])
    );
    assert_eq!(connections.disconnects.values().sum::<u64>(), 2);
    assert_eq!(connections.handshake.count, 16);
    assert!(
        report.heartbeats.answered >= 14 * 4,
        "{:?}",
        report.heartbeats
    );
    assert!(!report.ok);
}

#[tokio::test]
async fn a_clean_idle_run_weighs_the_server() {
    let fake = Fake::start(Faults::default()).await;
    let report = stress(&fake, "idle -n 50 --duration 300ms --heartbeat 100ms").await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.heartbeats.sent, report.heartbeats.answered);
    assert!(report.server.bytes_per_connection.is_some());
    assert!(report.pushes.is_none());
}

#[tokio::test]
async fn a_dead_server_is_a_failure_and_not_a_hang() {
    let fake = Fake {
        tcp: free_address().await,
        websocket: free_address().await,
        http: free_address().await,
    };
    let report = stress(
        &fake,
        "room -n 4 --rate 100 --duration 100ms --straggle 100ms",
    )
    .await;
    assert_eq!(
        report.connections.failures,
        counts(&[("connection refused", 4)])
    );
    assert_eq!(report.pushes.unwrap().sent, 0);
    assert!(!report.ok);
}

/// An address where nobody listens any longer.
async fn free_address() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
