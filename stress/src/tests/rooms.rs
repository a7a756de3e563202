//! Many rooms, few of them large.

use super::fake::{Fake, Fate, Faults};
use super::{stress, verdict};

#[tokio::test]
async fn every_room_has_an_account_of_its_own() {
    let fake = Fake::start(Faults::default()).await;
    let line = "rooms -n 60 --rooms 5 --rate 400 --duration 500ms --threads 2 --transport mixed";
    let report = stress(&fake, line).await;
    assert_eq!(report.problems, Vec::<String>::new());
    let rooms = report.rooms.as_ref().unwrap();
    assert_eq!((rooms.count, rooms.with_loss), (5, 0));
    assert_eq!(rooms.largest.len(), 5);
    let mut sums = (0, 0, 0);
    for room in &rooms.largest {
        let members = room.members.unwrap();
        assert_eq!(room.verdict.expected, members * room.pushes, "{room:?}");
        assert_eq!(room.verdict.received, room.verdict.expected);
        sums = (
            sums.0 + members,
            sums.1 + room.pushes,
            sums.2 + room.verdict.expected,
        );
    }
    assert_eq!(sums, (60, 200, verdict(&report).expected));
    let (first, last) = (&rooms.largest[0], &rooms.largest[4]);
    assert!(first.pushes > 2 * last.pushes, "{rooms:?}");
    assert!(first.members > last.members, "{rooms:?}");
}

#[tokio::test]
async fn a_loss_is_found_in_its_room() {
    let faults = Faults {
        // One member, in whatever room it is, never gets the third message of it.
        fate: |member, push| match (member, push) {
            (7, 2) => Fate::Never,
            (8, 1) => Fate::Twice,
            _ => Fate::Once,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "rooms -n 30 --rooms 3 --exponent 0 --rate 400 --duration 250ms --straggle 200ms";
    let report = stress(&fake, line).await;
    let found = verdict(&report);
    assert_eq!((found.lost, found.duplicated), (1, 1));
    let rooms = report.rooms.unwrap();
    assert_eq!(rooms.with_loss, 1);
    let lost: Vec<u64> = rooms.largest.iter().map(|room| room.verdict.lost).collect();
    assert_eq!(lost.iter().sum::<u64>(), 1, "{lost:?}");
    assert_eq!(
        report.problems,
        ["1 deliveries were lost", "1 deliveries came again"]
    );
}

#[tokio::test]
async fn what_is_for_everyone_is_expected_of_everyone() {
    let faults = Faults {
        // One member never gets the third message, be it of its room or for all.
        fate: |member, push| match (member, push) {
            (7, 2) => Fate::Never,
            _ => Fate::Once,
        },
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let line = "rooms -n 30 --rooms 3 --exponent 0 --rate 60 --broadcasts 20 --duration 500ms \
        --straggle 200ms --transport mixed";
    let report = stress(&fake, line).await;
    let found = verdict(&report);
    let rooms = report.rooms.unwrap();
    let in_rooms: u64 = rooms.largest.iter().map(|room| room.verdict.expected).sum();
    assert_eq!(found.expected, in_rooms + 10 * 30);
    assert_eq!((found.lost, found.unexpected), (2, 0));
    assert_eq!(rooms.with_loss, 1);
}
