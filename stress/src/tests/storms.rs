//! Connections that are dropped and come back, or come and go.

use std::time::Duration;

use tokio::time::Instant;

use super::fake::{Fake, Faults, Login};
use super::{counts, stress};

#[tokio::test]
async fn all_come_back_and_those_that_stay_are_watched() {
    let fake = Fake::start(Faults::default()).await;
    for flags in ["--transport mixed", "--reset --threads 2"] {
        let line = format!(
            "storm -n 20 --storms 2 --share 0.5 --calm 1s --heartbeat 50ms --retry 50ms {flags}"
        );
        let report = stress(&fake, &line).await;
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.storms.len(), 2);
        for storm in &report.storms {
            assert_eq!((storm.dropped, storm.ready), (10, 10));
            assert_eq!(storm.refused, counts(&[]));
            assert_eq!((storm.recovery.count, storm.handshake.count), (10, 10));
            // Ten that stay, each heard of several times in between.
            assert!(storm.heartbeat_calm.count >= 20, "{storm:?}");
            let seconds = storm.seconds.unwrap();
            assert!(seconds > 0.0 && seconds < 10.0, "{storm:?}");
        }
        assert_eq!(report.connections.disconnects, counts(&[]));
        assert_eq!(
            (report.connections.ready, report.connections.open),
            (20, 20)
        );
    }
}

#[tokio::test]
async fn refused_tries_are_counted_and_made_again() {
    let faults = Faults {
        // The first try to come back fails for every fifth, the second as well for every tenth.
        login: |member, before| match (member % 10, before) {
            (5, 1) | (0, 1 | 2) => Login::Close,
            _ => Login::Answer,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "storm -n 20 --storms 1 --share 1 --calm 50ms --retry 20ms";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new());
    let storm = &report.storms[0];
    assert_eq!((storm.dropped, storm.ready), (20, 20));
    assert_eq!(storm.refused, counts(&[("login: closed by the server", 6)]));
    assert_eq!(storm.handshake.count, 20, "a refused one has none");
}

#[tokio::test]
async fn who_finds_no_way_back_is_stranded() {
    let faults = Faults {
        login: |member, before| match (member, before) {
            (3 | 4, 1..) => Login::Close,
            _ => Login::Answer,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "storm -n 10 --storms 1 --share 1 --calm 50ms --retry 20ms --within 200ms";
    let report = stress(&fake, line).await;
    assert_eq!((report.storms[0].dropped, report.storms[0].ready), (10, 8));
    assert_eq!(report.problems, ["2 connections found no way back"]);
    assert_eq!(report.storms[0].seconds, None);
    let fake = Fake::start(faults).await;
    let tolerant = format!("{line} --expect stranded<=2");
    assert!(stress(&fake, &tolerant).await.ok);
    let fake = Fake::start(faults).await;
    let strict = format!("{tolerant},reconnect<1h");
    assert_eq!(
        stress(&fake, &strict).await.problems,
        ["expected reconnect<1h, this run has no such figure"]
    );
}

#[tokio::test]
async fn churn_logs_in_as_often_as_it_goes() {
    let fake = Fake::start(Faults::default()).await;
    let line =
        "storm --churn -n 5 -c 4 --duration 300ms --threads 2 --transport mixed --heartbeat 50ms";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new());
    let churn = report.churn.unwrap();
    assert!(churn.connects > 20, "{churn:?}");
    assert_eq!(churn.login.count, churn.connects);
    assert!(churn.cpu_us_per_connect.is_some());
    assert_eq!(report.connections.ready, 5);
    let heard = report.heartbeats.answered;
    assert!(heard > 10, "those that are held go on: {heard}");
}

#[tokio::test]
async fn churn_keeps_to_a_rate() {
    let faults = Faults {
        login: |member, _| {
            if member % 10 == 3 {
                Login::Close
            } else {
                Login::Answer
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "storm --churn -n 0 -c 4 --rate 200 --duration 500ms --threads 2";
    let report = stress(&fake, line).await;
    let churn = report.churn.as_ref().unwrap();
    let failed: u64 = churn.failures.values().sum();
    assert_eq!(churn.connects + failed, 100);
    // Every tenth number; which connection takes how many is up to chance.
    assert!((5..=15).contains(&failed), "{churn:?}");
    let problem = format!("{failed} connections failed");
    assert_eq!(report.problems, [problem]);
}

#[tokio::test]
async fn churn_at_a_low_rate_ends_when_it_should() {
    let fake = Fake::start(Faults::default()).await;
    let (started, late) = (Instant::now(), Duration::from_secs(30));
    let line = "storm --churn -n 0 -c 2 --rate 0.01";
    let report = stress(&fake, &format!("{line} --duration 200ms")).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.churn.unwrap().connects, 1);
    let report = stress(&fake, &format!("{line} --duration 1h --limit 200ms")).await;
    assert_eq!(report.problems, ["the run took longer than 0 s"]);
    assert!(started.elapsed() < late, "{:?}", started.elapsed());
}
