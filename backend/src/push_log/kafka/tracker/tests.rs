use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    records_max: 4,
    bytes_max: 1000,
};

fn tracker() -> Tracker {
    let mut tracker = Tracker::new(LIMITS);
    tracker.assign(&[0, 1]);
    tracker
}

fn push(tracker: &mut Tracker, partition: i32, offset: i64) -> bool {
    let content = Content::Push(Arc::default());
    tracker.push(Place { partition, offset }, 10, Instant::now(), content)
}

fn ids(tracker: &mut Tracker) -> Vec<RecordId> {
    std::iter::from_fn(|| tracker.take())
        .map(|taken| taken.id)
        .collect()
}

fn at(partition: i32, offset: i64) -> Place {
    Place { partition, offset }
}

#[test]
fn a_partition_is_committed_up_to_its_first_open_record() {
    let mut tracker = tracker();
    // Offsets have gaps where Kafka keeps its own records.
    for offset in [5, 6, 9] {
        push(&mut tracker, 0, offset);
    }
    let ids = ids(&mut tracker);

    tracker.done(ids[1]);
    assert_eq!(tracker.commits(), []);
    tracker.done(ids[0]);
    assert_eq!(tracker.commits(), [at(0, 9)]);
    assert_eq!(tracker.commits(), [], "once is enough");
    tracker.not_committed(&[0]);
    assert_eq!(tracker.commits(), [at(0, 9)]);
    tracker.done(ids[2]);
    assert_eq!(tracker.commits(), [at(0, 10)]);
}

#[test]
fn a_commit_that_the_brokers_do_not_confirm_is_made_again() {
    let mut tracker = tracker();
    let done = |tracker: &mut Tracker, offset| {
        push(tracker, 0, offset);
        for id in ids(tracker) {
            tracker.done(id);
        }
        tracker.commits()
    };
    assert_eq!(done(&mut tracker, 0), [at(0, 1)]);
    // It may still be on its way.
    assert_eq!(tracker.unconfirmed([(0, -1001)].into_iter()), [0; 0]);
    assert_eq!(tracker.unconfirmed([(0, 1)].into_iter()), [0; 0]);

    assert_eq!(done(&mut tracker, 1), [at(0, 2)]);
    assert_eq!(tracker.unconfirmed([(0, 1)].into_iter()), [0; 0]);
    assert_eq!(tracker.unconfirmed([(0, 1), (7, 9)].into_iter()), [0]);
    assert_eq!(tracker.commits(), [at(0, 2)]);
    assert_eq!(tracker.unconfirmed([(0, 2)].into_iter()), [0; 0]);
    assert_eq!(tracker.unconfirmed([(0, 2)].into_iter()), [0; 0]);
    assert_eq!(tracker.commits(), []);
}

#[test]
fn a_partition_with_always_one_record_under_way_is_committed() {
    let mut tracker = tracker();

    for offset in 0..10 {
        push(&mut tracker, 0, offset);
        // As late as it can be: only what was read last is open.
        let expected: &[Place] = if offset == 0 { &[] } else { &[at(0, offset)] };
        assert_eq!(tracker.commits(), expected);
        for id in ids(&mut tracker) {
            tracker.done(id);
        }
    }
}

#[test]
fn what_is_returned_is_taken_first() {
    let mut tracker = tracker();
    for offset in 0..4 {
        push(&mut tracker, 0, offset);
    }
    let first = tracker.take().unwrap().id;
    let second = tracker.take().unwrap().id;

    assert!(tracker.returned(second));
    assert!(tracker.returned(first));

    assert_eq!(ids(&mut tracker), [first, second, 2, 3]);
}

#[test]
fn a_full_partition_pauses_until_half_of_it_is_done() {
    let mut tracker = tracker();
    let paused: Vec<bool> = (0..4).map(|offset| push(&mut tracker, 0, offset)).collect();
    assert_eq!(paused, [false, false, false, true]);
    assert!(tracker.is_paused());
    let ids = ids(&mut tracker);

    tracker.done(ids[3]);
    assert!(tracker.resumes().is_empty());
    tracker.done(ids[2]);
    assert_eq!(tracker.resumes(), [0]);
    assert!(!tracker.is_paused());
}

#[test]
fn a_partition_that_leaves_gives_out_nothing_and_is_forgotten() {
    let mut tracker = tracker();
    push(&mut tracker, 0, 0);
    push(&mut tracker, 0, 1);
    push(&mut tracker, 1, 7);
    let held = tracker.take().unwrap().id;

    tracker.withhold(&[0]);
    assert!(tracker.is_held(&[0]));
    assert_eq!(tracker.take().unwrap().id, 2, "of the other partition");
    assert!(!tracker.returned(held));
    assert!(!tracker.is_held(&[0]));
    tracker.revoke(&[0]);
    tracker.assign(&[0]);

    tracker.done(held);
    assert_eq!(tracker.commits(), []);
    assert_eq!(tracker.totals(), (2, 1, 10));
}

#[test]
fn a_record_that_is_no_push_holds_its_place() {
    let mut tracker = tracker();
    let undecodable = Undecodable {
        key: Vec::new(),
        value: Vec::new(),
        reason: String::new(),
    };
    let content = Content::Undecodable(Arc::new(undecodable));
    tracker.push(at(0, 3), 1, Instant::now(), content);
    push(&mut tracker, 0, 4);
    let taken = ids(&mut tracker);
    tracker.done(taken[0]);
    assert_eq!(tracker.commits(), []);

    let dead = tracker.take_dead(10);

    assert_eq!(dead[0].place, at(0, 3));
    tracker.done(dead[0].id);
    assert_eq!(tracker.commits(), [at(0, 5)]);
}

proptest! {
    /// Whatever the order of acknowledgements, nothing open is committed, and
    /// what is all done is committed to its end.
    #[test]
    fn nothing_open_is_committed(
        steps in prop::collection::vec((0_usize..8, any::<bool>()), 1..200),
    ) {
        let mut tracker = Tracker::new(Limits { records_max: 1000, bytes_max: 1 << 20 });
        tracker.assign(&[0]);
        let mut open: BTreeSet<i64> = BTreeSet::new();
        let mut held: Vec<(RecordId, i64)> = Vec::new();
        let mut end = 0;
        for (choice, give_back) in steps {
            if choice < 4 {
                push(&mut tracker, 0, end);
                open.insert(end);
                end += 1;
                let id = tracker.take().unwrap().id;
                let offset = tracker.records[&id].offset;
                held.push((id, offset));
            } else if !held.is_empty() {
                let (id, offset) = held.swap_remove(choice % held.len());
                if give_back {
                    tracker.returned(id);
                    let again = tracker.take().unwrap().id;
                    prop_assert_eq!(again, id);
                    held.push((id, offset));
                } else {
                    tracker.done(id);
                    open.remove(&offset);
                }
            }
            let first_open = open.first().copied().unwrap_or(end);
            for place in tracker.commits() {
                prop_assert_eq!(place.offset, first_open);
            }
        }
        for (id, _) in held {
            tracker.done(id);
        }
        tracker.not_committed(&[0]);
        let expected = if end == 0 { vec![] } else { vec![at(0, end)] };
        prop_assert_eq!(tracker.commits(), expected);
    }
}
