//! The rooms that a comet says it holds.
//!
//! Whoever deals records asks here, so changes are taken in before the comet is
//! told that they are: it confirms a join only after that. What is known is good
//! for the comet's lease only. When in doubt the comet holds every room.

use std::collections::HashSet;

use halley_proto::halley::delivery::RoomChanges;
use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashSet<String>,
    /// All rooms that the comet holds are known.
    is_complete: bool,
    /// Until when what is known counts.
    leased: Lease,
}

/// How long what a comet said counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lease {
    #[default]
    Over,
    Until(Instant),
    /// As long as the stream is open.
    Stream,
}

impl Rooms {
    /// Whether a message to the room must go to the comet.
    pub(crate) fn holds(&self, room: &str, now: Instant) -> bool {
        let state = self.0.lock();
        let is_leased = match state.leased {
            Lease::Over => false,
            Lease::Until(until) => now < until,
            Lease::Stream => true,
        };
        !(is_leased && state.is_complete) || state.held.contains(room)
    }

    /// Takes changes in. A comet with more than `rooms_max` rooms holds every
    /// room from then on.
    pub(crate) fn apply(&self, changes: RoomChanges, rooms_max: usize) {
        let mut state = self.0.lock();
        for room in &changes.released {
            state.held.remove(room);
        }
        state.held.extend(changes.held);
        state.is_complete |= changes.complete;
        if state.held.len() > rooms_max {
            state.is_complete = false;
            state.held = HashSet::new();
        }
    }

    pub(crate) fn lease(&self, lease: Lease) {
        self.0.lock().leased = lease;
    }

    /// The stream is gone, and with it what was said on it.
    pub(crate) fn forget(&self) {
        *self.0.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn changes(held: &[&str], released: &[&str], complete: bool) -> RoomChanges {
        let owned = |rooms: &[&str]| rooms.iter().map(|room| (*room).to_owned()).collect();
        RoomChanges {
            version: 1,
            held: owned(held),
            released: owned(released),
            complete,
        }
    }

    #[test]
    fn every_room_is_held_until_all_are_known() {
        let rooms = Rooms::default();
        let now = Instant::now();
        rooms.lease(Lease::Stream);

        rooms.apply(changes(&["a"], &[], false), 10);
        assert!(rooms.holds("a", now) && rooms.holds("b", now));

        rooms.apply(changes(&["c"], &["a"], true), 10);
        assert!(rooms.holds("c", now));
        assert!(!rooms.holds("a", now) && !rooms.holds("b", now));

        rooms.apply(changes(&["a"], &[], false), 10);
        assert!(rooms.holds("a", now) && !rooms.holds("b", now));

        rooms.forget();
        assert!(rooms.holds("b", now));
    }

    #[test]
    fn what_is_known_counts_for_the_lease_only() {
        let rooms = Rooms::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);

        rooms.apply(changes(&["a"], &[], true), 10);
        assert!(rooms.holds("b", now), "no lease yet");
        rooms.lease(Lease::Until(now + second));

        assert!(!rooms.holds("b", now));
        assert!(rooms.holds("b", now + second));
    }

    #[test]
    fn a_comet_with_too_many_rooms_holds_every_room() {
        let rooms = Rooms::default();
        let now = Instant::now();
        rooms.lease(Lease::Stream);

        rooms.apply(changes(&["a", "b"], &[], true), 2);
        assert!(!rooms.holds("d", now));
        rooms.apply(changes(&["c"], &[], false), 2);
        assert!(rooms.holds("d", now));
        rooms.apply(changes(&["d"], &["a"], false), 2);
        assert!(rooms.holds("e", now));
    }
}
