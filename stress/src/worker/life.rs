//! A member that comes, goes and changes its room: what it must receive, and what it may.

use std::collections::BTreeMap;

use crate::account::{Expected, Spells, Tracker, Verdict};

/// Which rooms a member has been in, and when.
pub(super) struct Life {
    room: u32,
    change: Option<Change>,
    /// Whether the end of its connection has begun.
    leaving: bool,
    /// When it was connected, which is when it can be pushed to by key.
    online: Spells,
    /// The rooms that it ever was in.
    seats: Vec<Seat>,
}

/// A room change that waits for its answer.
struct Change {
    to: u32,
    sent_ns: u64,
}

struct Seat {
    room: u32,
    tracker: Tracker,
    spells: Spells,
    /// When the member had left for good: what is pushed from then on must not come.
    left_ns: Option<u64>,
}

impl Life {
    pub(super) fn new(room: u32) -> Self {
        Self {
            room,
            change: None,
            leaving: false,
            online: Spells::default(),
            seats: Vec::new(),
        }
    }

    /// The room that it is in, or would log in to.
    pub(super) fn room(&self) -> u32 {
        self.room
    }

    /// Whether it can be asked to change its room.
    pub(super) fn is_settled(&self) -> bool {
        !self.leaving && self.change.is_none()
    }

    /// A login is under way: messages may come.
    pub(super) fn enter(&mut self) {
        self.seat(self.room).left_ns = None;
    }

    /// The connection is ready: messages must come.
    pub(super) fn arrive(&mut self, now_ns: u64) {
        self.leaving = false;
        self.online.begin(now_ns);
        self.seat(self.room).spells.begin(now_ns);
    }

    /// The connection is about to end: messages need not come.
    pub(super) fn depart(&mut self, now_ns: u64) {
        self.leaving = true;
        self.online.end(now_ns);
        self.seat(self.room).spells.end(now_ns);
    }

    /// The connection has ended; says whether a change of room was cut off.
    pub(super) fn gone(&mut self, now_ns: u64) -> bool {
        self.depart(now_ns);
        for seat in &mut self.seats {
            seat.left_ns.get_or_insert(now_ns);
        }
        self.change.take().is_some()
    }

    /// A change of room is sent: messages of the old one need not come any more, those of the new one may.
    pub(super) fn begin_change(&mut self, to: u32, now_ns: u64) {
        self.seat(self.room).spells.end(now_ns);
        self.seat(to).left_ns = None;
        self.change = Some(Change {
            to,
            sent_ns: now_ns,
        });
    }

    /// A change of room is answered; says when it was sent.
    pub(super) fn end_change(&mut self, now_ns: u64) -> Option<u64> {
        let Change { to, sent_ns } = self.change.take()?;
        self.seat(self.room).left_ns = Some(now_ns);
        self.room = to;
        let leaving = self.leaving;
        let seat = self.seat(to);
        // To come back to the room one is in is no leaving.
        seat.left_ns = None;
        if !leaving {
            seat.spells.begin(now_ns);
        }
        Some(sent_ns)
    }

    /// Where to count a message of a room that was due at a moment; `None` for one that must not come.
    pub(super) fn tracker(&mut self, room: u32, due_ns: u64) -> Option<&mut Tracker> {
        let seat = self.seats.iter_mut().find(|seat| seat.room == room)?;
        let late = seat.left_ns.is_some_and(|left_ns| due_ns > left_ns);
        (!late).then_some(&mut seat.tracker)
    }

    /// The accounts of every stream that it received: its own, and those of its rooms. What was pushed `grace_ns`
    /// before it left, or later, need not have come.
    pub(super) fn verdicts(
        &self,
        own: (u32, &Tracker),
        streams: &BTreeMap<u32, Expected>,
        grace_ns: u64,
        mut each: impl FnMut(u32, Verdict),
    ) {
        let rooms = self
            .seats
            .iter()
            .map(|seat| (seat.room, &seat.tracker, &seat.spells));
        for (stream, tracker, spells) in rooms.chain([(own.0, own.1, &self.online)]) {
            if let Some(expected) = streams.get(&stream) {
                let within = spells.ranges(expected, grace_ns);
                each(stream, tracker.verdict_within(expected, &within));
            }
        }
    }

    fn seat(&mut self, room: u32) -> &mut Seat {
        let place = self.seats.iter().position(|seat| seat.room == room);
        let place = place.unwrap_or_else(|| {
            self.seats.push(Seat {
                room,
                tracker: Tracker::default(),
                spells: Spells::default(),
                left_ns: None,
            });
            self.seats.len() - 1
        });
        &mut self.seats[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Ledger, Outcome};

    const OWN: u32 = 9;

    /// A push every ten nanoseconds from 0 on, all accepted.
    fn pushes(count: u32) -> Expected {
        let mut ledger = Ledger::default();
        for seq in 0..count {
            ledger.start_at(u64::from(seq) * 10);
            ledger.finish(seq, Outcome::Accepted);
        }
        Expected::from(&ledger.summary())
    }

    fn verdicts(life: &Life, grace_ns: u64) -> BTreeMap<u32, Verdict> {
        let streams = BTreeMap::from([(1, pushes(100)), (2, pushes(100)), (OWN, pushes(100))]);
        let mut found = BTreeMap::new();
        life.verdicts(
            (OWN, &Tracker::default()),
            &streams,
            grace_ns,
            |stream, verdict| {
                found.insert(stream, verdict);
            },
        );
        found
    }

    #[test]
    fn a_room_is_owed_from_the_answer_until_the_next_change_begins() {
        let mut life = Life::new(1);
        life.enter();
        life.arrive(100);
        life.begin_change(2, 300);
        assert!(!life.is_settled());
        assert_eq!(life.end_change(400), Some(300));
        assert_eq!(life.room(), 2);
        let tracker = life.tracker(1, 400);
        assert!(tracker.is_some(), "what was under way may come");
        let tracker = life.tracker(1, 401);
        assert!(tracker.is_none(), "what was pushed later may not");
        let owed = verdicts(&life, 50);
        // Room 1 from 100 to 300 less the grace, room 2 from 400 on, its own stream from 100 on.
        assert_eq!(owed[&1].lost, 15);
        assert_eq!(owed[&2].lost, 60);
        assert_eq!(owed[&OWN].lost, 90);
    }

    #[test]
    fn what_races_with_a_change_may_come_but_once() {
        let mut life = Life::new(1);
        life.enter();
        life.arrive(0);
        life.begin_change(2, 0);
        assert!(life.tracker(2, 1).unwrap().record(0, 0));
        life.end_change(100);
        assert!(!life.tracker(2, 101).unwrap().record(0, 0));
        let found = verdicts(&life, 50);
        assert_eq!((found[&2].racing, found[&2].duplicated), (1, 1));
    }

    #[test]
    fn a_change_that_the_end_cuts_off_leaves_the_member_where_it_was() {
        let mut life = Life::new(1);
        life.enter();
        life.arrive(0);
        life.begin_change(2, 200);
        life.depart(300);
        assert!(life.gone(310));
        assert_eq!((life.room(), life.is_settled()), (1, false));
        assert!(life.tracker(1, 320).is_none());
        assert!(
            life.tracker(7, 320).is_none(),
            "a room that it never was in"
        );
        life.enter();
        life.arrive(500);
        let owed = verdicts(&life, 0);
        assert_eq!((owed[&1].lost, owed[&2].lost), (20 + 50, 0));
        assert_eq!(owed[&OWN].lost, 30 + 50);
    }
}
