use halley_proto::goim::logic::PushMsg;
use proptest::prelude::*;

use super::*;
use crate::testing::{metrics, part};

#[derive(Clone, Debug)]
enum To {
    Room(u8),
    Keys(Vec<u8>),
    Everyone,
}

fn message(number: usize, to: &To, operation: i32) -> (PushMsg, Target) {
    let msg = PushMsg {
        operation,
        msg: number.to_string().into(),
        ..PushMsg::default()
    };
    match to {
        To::Room(room) => {
            let room = format!("room-{room}");
            (PushMsg { room, ..msg }, Target::Room)
        }
        To::Keys(keys) => {
            let keys = keys.iter().map(|key| format!("key-{key}")).collect();
            (PushMsg { keys, ..msg }, Target::AllKeys)
        }
        To::Everyone => (msg, Target::Everyone),
    }
}

fn number(part: &Part) -> usize {
    let text = std::str::from_utf8(&part.record.msg.msg).unwrap();
    text.parse().unwrap()
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        (0_u8..3).prop_map(To::Room),
        proptest::collection::vec(0_u8..3, 1..3).prop_map(To::Keys),
        Just(To::Everyone),
    ]
}

proptest! {
    #[test]
    fn calls_keep_all_parts_their_order_and_the_limits(
        messages in proptest::collection::vec((to(), 1000_i32..1002), 0..100),
        messages_max in 1_usize..10,
        bytes_max in 1_usize..200,
    ) {
        let metrics = metrics();
        let parts = messages.iter().enumerate().map(|(number, (to, operation))| {
            let (msg, target) = message(number, to, *operation);
            part(msg, target, &metrics)
        });
        let limits = Limits { messages_max, bytes_max };

        let calls = calls(parts.collect::<Vec<_>>(), limits);

        let mut of_target: HashMap<String, Vec<usize>> = HashMap::default();
        for call in &calls {
            assert!(call.parts.len() <= messages_max);
            let all_but_last = &call.parts[..call.parts.len() - 1];
            assert!(all_but_last.iter().map(packet_bytes).sum::<usize>() < bytes_max);
            for part in &call.parts {
                assert!(call.has_target_of(part) || part.target == Target::Everyone);
                let targets = match part.target {
                    Target::Room => vec![part.record.msg.room.clone()],
                    Target::AllKeys | Target::Keys(_) => {
                        part.keys().map(str::to_owned).collect()
                    }
                    Target::Everyone => vec![part.record.msg.operation.to_string()],
                };
                for target in targets {
                    of_target.entry(target).or_default().push(number(part));
                }
            }
        }
        assert!(of_target.values().all(|numbers| numbers.is_sorted()), "{of_target:?}");
        let count: usize = calls.iter().map(|call| call.parts.len()).sum();
        assert_eq!(count, messages.len());
    }
}

/// Where ten messages go that are in turn for one and for the other.
fn merged(to: [&To; 2]) -> Vec<Vec<usize>> {
    let metrics = metrics();
    let parts = (0..10).map(|number| {
        let (msg, target) = message(number, to[number % 2], 1000);
        part(msg, target, &metrics)
    });
    let limits = Limits {
        messages_max: 100,
        bytes_max: 10_000,
    };
    let calls = calls(parts, limits);
    let numbers = |call: &Call| call.parts.iter().map(number).collect();
    calls.iter().map(numbers).collect()
}

#[tokio::test]
async fn messages_for_two_targets_in_turn_are_merged() {
    let apart = vec![vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7, 9]];
    let keys = |keys: &[u8]| To::Keys(keys.to_vec());

    assert_eq!(merged([&To::Room(1), &To::Room(2)]), apart);
    assert_eq!(merged([&keys(&[1]), &keys(&[2])]), apart);
    assert_eq!(merged([&keys(&[1, 3]), &keys(&[2, 4])]), apart);
}

#[tokio::test]
async fn a_message_never_overtakes_one_for_the_same_key() {
    let keys = |keys: &[u8]| To::Keys(keys.to_vec());

    let alone: Vec<_> = (0..10).map(|number| vec![number]).collect();
    assert_eq!(merged([&keys(&[1]), &keys(&[1, 2])]), alone);
    assert_eq!(merged([&keys(&[2, 1]), &keys(&[1, 2])]), alone);
}

#[tokio::test]
async fn pushes_of_two_operations_are_not_merged() {
    let metrics = metrics();
    let parts = (0..4).map(|number| {
        let operation = if number < 2 { 1000 } else { 1001 };
        let (msg, target) = message(number, &To::Keys(vec![1, 2]), operation);
        part(msg, target, &metrics)
    });
    let limits = Limits {
        messages_max: 100,
        bytes_max: 10_000,
    };

    let calls = calls(parts, limits);

    let sizes: Vec<_> = calls.iter().map(|call| call.parts.len()).collect();
    assert_eq!(sizes, [2, 2]);
}

#[test]
fn a_pace_is_shared_and_stays_a_pace() {
    assert_eq!(speed_of_each(32, 2), 16);
    assert_eq!(speed_of_each(1, 2), 1);
    assert_eq!(speed_of_each(0, 2), 0);
    assert_eq!(speed_of_each(-1, 2), 0);
    assert_eq!(speed_of_each(7, 0), 7);
}
