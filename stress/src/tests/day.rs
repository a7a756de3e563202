//! Members who come, go, change rooms and read late.

use super::fake::{Fake, Fate, Faults, Login};
use super::{counts, stress, verdict};

#[tokio::test]
async fn a_busy_day_is_accounted_for() {
    let fake = Fake::start(Faults::default()).await;
    let line = "mixed -n 60 --rooms 4 --rate 200 --user-rate 100 --turnover 40 --changes 40 --duration 1s \
        --grace 200ms --slow 0.1 --slow-pause 100ms --threads 2 --transport mixed --heartbeat 100ms";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new(), "{report:?}");
    let (found, turnover) = (verdict(&report), report.turnover.as_ref().unwrap());
    assert_eq!((found.expected, found.lost), (found.received, 0));
    // How many of each depends on how busy this machine is.
    assert!(found.expected + found.racing > 1000, "{found:?}");
    assert_eq!(turnover.connect_failures, counts(&[]));
    assert!(
        turnover.disconnects > 20 && turnover.connects > 5,
        "{turnover:?}"
    );
    let acts = turnover.connects + turnover.disconnects + turnover.changes_sent;
    // 40 a second of each kind, until the last push is answered.
    let due = acts + turnover.skipped;
    assert!(due >= 115, "{turnover:?}");
    assert_eq!(turnover.unanswered(), 0);
    let pushes = report.pushes.as_ref().unwrap();
    assert_eq!((pushes.planned, pushes.accepted), (300, 300));
    let slow = report.slow.as_ref().unwrap();
    assert!(slow.members > 0 && slow.latency.count > 0, "{slow:?}");
    assert_eq!(slow.verdict.lost, 0);
}

#[tokio::test]
async fn nothing_is_excused_when_nobody_moves() {
    let faults = Faults {
        fate: |member, push| match (member, push) {
            (5, 1) => Fate::Never,
            (6, 2) => Fate::Twice,
            _ => Fate::Once,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    // Members 5 and 6 each lose or double one of their own messages and one of their room's.
    let line = "mixed -n 10 --rooms 1 --rate 100 --user-rate 100 --turnover 0 --changes 0 --online 1 --slow 0 \
        --duration 500ms --straggle 200ms";
    let report = stress(&fake, line).await;
    let found = verdict(&report);
    assert_eq!(found.expected, 50 * 10 + 50);
    assert_eq!((found.lost, found.duplicated, found.racing), (2, 2, 0));
    assert_eq!(report.rooms.unwrap().with_loss, 1);
}

#[tokio::test]
async fn a_server_that_forgets_a_change_loses_and_misroutes() {
    let faults = Faults {
        deaf: true,
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "mixed -n 10 --rooms 2 --exponent 0 --rate 100 --user-rate 0 --turnover 0 --changes 20 --online 1 \
        --slow 0 --grace 50ms --duration 1s --straggle 200ms";
    let report = stress(&fake, line).await;
    assert!(verdict(&report).lost > 10, "{report:?}");
    assert!(report.deliveries.unwrap().misrouted > 10);
}

#[tokio::test]
async fn what_slow_readers_lose_fails_only_on_request() {
    let faults = Faults {
        fate: |_, push| {
            if push % 4 == 0 {
                Fate::Never
            } else {
                Fate::Once
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "mixed -n 10 --rooms 1 --rate 80 --user-rate 0 --turnover 0 --changes 0 --online 1 --slow 1 \
        --slow-pause 50ms --duration 500ms --straggle 200ms";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new());
    let slow = report.slow.as_ref().unwrap();
    assert_eq!((slow.verdict.expected, slow.verdict.lost), (400, 100));
    assert_eq!(slow.latency.count, 300);
    // What it took is for what they received.
    let tool = &report.tool;
    assert!(tool.deliveries_per_read.is_some(), "{tool:?}");
    assert!(tool.receive_cpu_ns_per_delivery.is_some(), "{tool:?}");
    assert_eq!(verdict(&report).expected, 0);
    let report = stress(&fake, &format!("{line} --expect slow_loss=0")).await;
    assert_eq!(report.problems, ["expected slow_loss=0, was 100"]);
}

#[tokio::test]
async fn who_the_server_drops_is_owed_what_came_before() {
    let faults = Faults {
        login: |member, _| {
            if member == 2 {
                Login::Drop
            } else {
                Login::Answer
            }
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "mixed -n 5 --rooms 1 --rate 100 --user-rate 0 --turnover 0 --changes 0 --online 1 --slow 0 \
        --grace 50ms --heartbeat 200ms --duration 600ms --straggle 200ms";
    let report = stress(&fake, line).await;
    let found = verdict(&report);
    // Four members get all of 60, the one that was dropped what was sent until then.
    assert!((240..300).contains(&found.expected), "{found:?}");
    assert_eq!(found.lost, 0);
    assert_eq!(report.problems, ["1 connections were lost"]);
}

#[tokio::test]
async fn a_soak_says_whether_the_server_grows() {
    let fake = Fake::start(Faults::default()).await;
    let line = "soak -n 20 --rooms 3 --duration 2s --warm-up 200ms --sample-every 20ms --slow 0 --grace 200ms";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new());
    let growth = report.growth.as_ref().unwrap();
    assert!(growth.samples >= 3, "{growth:?}");
    assert!(growth.bytes_per_hour.is_some() && growth.files_per_hour.is_some());
    assert_eq!(growth.bytes_per_hour_max, None, "too short to be judged");
    let judged = stress(
        &fake,
        &format!("{line} --growth-max 1GB --expect growth>100000GB"),
    )
    .await;
    let growth = judged.growth.unwrap();
    assert_eq!(growth.bytes_per_hour_max, Some(1e9));
    assert!(judged.problems[0].starts_with("expected growth>100000GB, was "));
}
