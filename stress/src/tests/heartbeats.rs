//! Servers that are late with their answers to heartbeats, or never give them.

use super::fake::{Beat, Fake, Faults, Login};
use super::stress;

#[tokio::test]
async fn every_late_answer_is_a_round_trip_of_its_own() {
    let faults = Faults {
        beat: |_, before| match before {
            1..4 => Beat::Hold,
            _ => Beat::Answer,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let report = stress(&fake, "idle -n 4 --duration 1s --heartbeat 50ms").await;
    assert_eq!(report.problems, Vec::<String>::new());
    let heartbeats = &report.heartbeats;
    assert_eq!(heartbeats.answered, heartbeats.sent);
    assert_eq!(heartbeats.round_trip.count, heartbeats.answered);
    // The first that was held waited for three more.
    assert!(heartbeats.round_trip.max_us >= 100_000, "{heartbeats:?}");
}

#[tokio::test]
async fn a_lost_connection_excuses_its_own_heartbeats_only() {
    let faults = Faults {
        login: |member, _| {
            if member == 1 {
                Login::Drop
            } else {
                Login::Answer
            }
        },
        beat: |member, before| {
            if member == 2 && before > 0 {
                Beat::Ignore
            } else {
                Beat::Answer
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "mixed -n 5 --rooms 1 --rate 100 --user-rate 0 --turnover 0 --changes 0 --online 1 --slow 0 \
        --grace 50ms --heartbeat 100ms --duration 600ms --straggle 200ms";
    let report = stress(&fake, line).await;
    let heartbeats = &report.heartbeats;
    assert!(heartbeats.lost > 0 && heartbeats.unanswered() > 0);
    assert_eq!(
        report.problems,
        [
            "1 connections were lost".to_owned(),
            format!("{} heartbeats were not answered", heartbeats.unanswered()),
        ]
    );
}

#[tokio::test]
async fn a_storm_that_silences_the_server_shows_in_those_that_stay() {
    let faults = Faults {
        // Every second stays.
        beat: |member, before| {
            if member % 2 == 0 && before > 0 {
                Beat::Ignore
            } else {
                Beat::Answer
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "storm -n 4 --storms 1 --share 0.5 --calm 300ms --heartbeat 50ms";
    let report = stress(&fake, line).await;
    let storm = &report.storms[0];
    assert_eq!((storm.dropped, storm.ready), (2, 2));
    assert!(storm.heartbeat_storm.max_us >= 100_000, "{storm:?}");
}
