use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DEADLINES: Deadlines = Deadlines {
    idle_ticks: 10,
    expires: Tick::NEVER,
    renew: Tick::NEVER,
};

fn connection(id: u64, key: &str) -> Arc<Connection> {
    Arc::new(Connection::detached(id, key.into()))
}

fn register(buckets: &Buckets, connection: &Arc<Connection>) -> Registered {
    buckets.register(7, Arc::clone(connection), DEADLINES, Tick(1))
}

fn slot(registered: &Registered) -> Slot {
    match registered {
        Registered::New(slot, _) => *slot,
        Registered::Outdated(_) => panic!("outdated"),
    }
}

/// The numbers of all connections, as a walk comes to them.
fn walked(buckets: &Buckets, slots: usize) -> Vec<u64> {
    let (mut from, mut copies, mut walked) = (0, Vec::new(), Vec::new());
    while buckets.copy_connections(from, slots, &mut copies) {
        from += slots;
        assert!(copies.len() <= slots);
        walked.extend(copies.iter().map(|connection| connection.id()));
    }
    walked
}

#[test]
fn a_walk_keeps_about_the_order_of_the_logins() {
    const LOGINS: u64 = 1000;
    let buckets = Buckets::new(4);
    for id in 0..LOGINS {
        register(&buckets, &connection(id, &id.to_string()));
    }

    let walked = walked(&buckets, 7);

    // Bucket by bucket, the first quarter would be from anywhere.
    assert_eq!(walked.len() as u64, LOGINS);
    let latest = walked[..250].iter().max();
    assert!(latest < Some(&(LOGINS / 2)), "{latest:?}");
}

#[test]
fn a_late_removal_leaves_the_newer_connection() {
    let buckets = Buckets::new(4);
    let (old, new) = (connection(1, "dev-1"), connection(2, "dev-1"));
    let old_slot = slot(&register(&buckets, &old));
    let registered = register(&buckets, &new);

    let Registered::New(_, Some(replaced)) = registered else {
        panic!("the old connection was not replaced: {registered:?}");
    };
    assert_eq!(replaced.id(), 1);
    assert_eq!(buckets.remove(old_slot, &old), None);
    assert_eq!(buckets.get("dev-1").map(|found| found.id()), Some(2));
}

#[test]
fn an_older_login_does_not_replace_a_later_one() {
    let buckets = Buckets::new(4);
    register(&buckets, &connection(2, "dev-1"));

    let registered = register(&buckets, &connection(1, "dev-1"));
    assert!(matches!(registered, Registered::Outdated(_)));
}

#[test]
fn a_reused_slot_is_guarded() {
    let buckets = Buckets::new(1);
    let (first, second) = (connection(1, "a"), connection(2, "b"));
    let first_slot = slot(&register(&buckets, &first));
    assert!(buckets.remove(first_slot, &first).is_some());
    let second_slot = slot(&register(&buckets, &second));

    assert_eq!(first_slot, second_slot);
    assert_eq!(buckets.remove(first_slot, &first), None);
    assert_eq!(buckets.identity(first_slot, &first), None);
    assert!(buckets.get("b").is_some());
}

#[test]
fn only_heartbeats_keep_a_connection() {
    let buckets = Buckets::new(1);
    let connection = connection(1, "a");
    let slot = slot(&register(&buckets, &connection));
    let idle = |now| {
        let mut idle = false;
        buckets.sweep(0, Tick(now), |entry| idle = entry.is_idle);
        idle
    };

    assert!(!idle(11));
    assert!(idle(12));
    buckets.touch(slot, &connection, Tick(12));
    assert!(!idle(22));
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8),
    /// Removes the nth connection ever made, registered or replaced.
    Remove(u8),
}

proptest! {
    #[test]
    fn behaves_as_a_plain_map(
        steps in prop::collection::vec(
            prop_oneof![(0u8..6).prop_map(Step::Register), any::<u8>().prop_map(Step::Remove)],
            1..120,
        ),
    ) {
        let buckets = Buckets::new(3);
        let mut model = BTreeMap::new();
        let mut made: Vec<(Slot, Arc<Connection>, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Register(key) => {
                    let key = format!("key-{key}");
                    let connection = connection(made.len() as u64 + 1, &key);
                    let Registered::New(slot, replaced) = register(&buckets, &connection) else {
                        panic!("a later login was refused");
                    };
                    let before = model.insert(key.clone(), connection.id());
                    prop_assert_eq!(replaced.map(|connection| connection.id()), before);
                    made.push((slot, connection, key));
                }
                Step::Remove(nth) if !made.is_empty() => {
                    let (slot, connection, key) = &made[usize::from(nth) % made.len()];
                    let removed = buckets.remove(*slot, connection).is_some();
                    let current = model.get(key) == Some(&connection.id());
                    prop_assert_eq!(removed, current);
                    if current {
                        model.remove(key);
                    }
                }
                Step::Remove(_) => {}
            }
            prop_assert_eq!(buckets.connections(), model.len());
            for (key, id) in &model {
                prop_assert_eq!(buckets.get(key).map(|connection| connection.id()), Some(*id));
            }
        }
        let mut walked = walked(&buckets, 2);
        walked.sort_unstable();
        let mut expected: Vec<_> = model.into_values().collect();
        expected.sort_unstable();
        prop_assert_eq!(walked, expected);
    }
}
