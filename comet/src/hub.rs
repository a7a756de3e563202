//! What every part of the node shares, and the pushes themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::bucket::{Buckets, Identity};
use crate::calls::Calls;
use crate::clock::{Clock, Tick};
use crate::config::Config;
use crate::connection::{AcceptSets, Connection, Rules};
use crate::delivery::{HeldRooms, Unconfirmed};
use crate::event_loop::EventLoops;
use crate::frame::Frame;
use crate::metrics::{Metrics, PushKind};
use crate::online::Online;
use crate::ring;
use crate::room::{Room, Rooms};
use crate::session::SessionLimits;
use crate::tally::{DropReason, Tally};
use crate::transport::FramingLimits;
use crate::turns::Turns;
use crate::walker;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: Config,
    /// The node's name in the whole system.
    pub(crate) server: String,
    /// Unix milliseconds of the start.
    pub(crate) started_ms: i64,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) ring_limits: ring::Limits,
    /// Walkers that share one room.
    pub(crate) walkers_max: usize,
    pub(crate) turns: Turns,
    pub(crate) event_loops: EventLoops,
    pub(crate) buckets: Buckets,
    pub(crate) accept_sets: AcceptSets,
    pub(crate) rooms: Rooms,
    pub(crate) held: Arc<HeldRooms>,
    pub(crate) online: Online,
    pub(crate) admission: Arc<Admission>,
    pub(crate) calls: Calls,
    pub(crate) metrics: Arc<Metrics>,
    /// Connections and walkers; waited for when draining.
    pub(crate) tasks: TaskTracker,
    /// Broadcasts under way.
    pub(crate) broadcasts: TaskTracker,
    /// Streams of jobs.
    pub(crate) streams: TaskTracker,
    /// The node is about to go: it tells so, and goes on as before.
    pub(crate) draining: CancellationToken,
    /// No new connections.
    pub(crate) accepting: CancellationToken,
    /// Clients that were told to go are not waited for any longer.
    pub(crate) leaving: CancellationToken,
    /// The streams of jobs end: no client is left.
    pub(crate) streams_end: CancellationToken,
    /// Everything ends now.
    pub(crate) serving: CancellationToken,
    pub(crate) logins: Logins,
}

/// Numbers logins: later ones have larger numbers, also across restarts.
#[derive(Debug)]
pub(crate) struct Logins(AtomicU64);

/// Bits that count logins within the millisecond of the start; what does not
/// fit runs ahead of the clock, which a restart within that time cannot catch.
const LOGIN_BITS: u32 = 22;

impl Logins {
    /// Starts above every number of an earlier start.
    pub(crate) fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
        Self(AtomicU64::new(ms << LOGIN_BITS))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Hub {
    /// The current tick.
    pub(crate) fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(crate) fn framing_limits(&self) -> FramingLimits {
        FramingLimits {
            body_bytes_max: self.config.limits.body_bytes_max,
            fragments_max: self.config.limits.fragments_max,
        }
    }

    pub(crate) fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            room_name_bytes_max: self.config.limits.room_name_bytes_max,
        }
    }

    /// Pushes to one connection by key, if it is here and accepts `op`.
    pub(crate) fn push_key(&self, key: &str, op: i32, frame: &Frame, tally: &mut Tally) {
        let messages = u64::from(frame.messages());
        self.metrics.pushed(PushKind::Keys, messages);
        match self.buckets.get(key) {
            Some(connection) => {
                if !self.push_to(&connection, op, frame, tally) {
                    tally.drop(DropReason::NotAccepted, messages);
                }
            }
            None => tally.offline += messages,
        }
    }

    /// Pushes to a connection; `false` if it does not accept `op`.
    pub(crate) fn push_to(
        &self,
        connection: &Connection,
        op: i32,
        frame: &Frame,
        tally: &mut Tally,
    ) -> bool {
        connection.push(op, frame, &self.rules, self.now(), tally)
    }

    /// Pushes to every member of a room.
    pub(crate) fn push_room(self: &Arc<Self>, name: &str, frame: &Frame, tally: &mut Tally) {
        let messages = u64::from(frame.messages());
        let Some(room) = self.rooms.get(name) else {
            self.metrics.pushed(PushKind::Room, messages);
            tally.offline += messages;
            return;
        };
        let appended = room.append(frame, self.ring_limits);
        self.metrics
            .pushed(PushKind::Room, messages * appended.members.max(1));
        if appended.members == 0 {
            tally.offline += messages;
        }
        if appended.must_walk {
            self.walk(room);
        }
    }

    /// Counts a push of which nothing could be made.
    pub(crate) fn malformed(&self, kind: PushKind) {
        self.metrics.pushed(kind, 1);
        let mut tally = Tally::default();
        tally.drop(DropReason::Malformed, 1);
        tally.report(&self.metrics);
    }

    /// Starts a walker over `room`; its wake-up must have said so.
    pub(crate) fn walk(self: &Arc<Self>, room: Arc<Room>) {
        self.tasks.spawn(walker::walk(Arc::clone(self), room));
    }

    /// Makes the connection a member of the room `name`.
    ///
    /// The client is told when the jobs know of it.
    pub(crate) fn join(&self, name: &str, connection: &Arc<Connection>) -> Option<Unconfirmed> {
        let room = {
            let mut outgoing = connection.outgoing();
            if outgoing.is_closed() {
                return None;
            }
            self.rooms.join(name, connection, &mut outgoing, || {
                self.online.elsewhere(name)
            })
        };
        self.held.joined(&room)
    }

    /// Takes the connection out of all its rooms.
    pub(crate) fn leave(&self, connection: &Connection, tally: &mut Tally) {
        let empty = connection.outgoing().leave(DropReason::LeftRoom, tally);
        self.forget(&empty);
    }

    fn forget(&self, empty: &[Arc<Room>]) {
        for room in empty {
            self.rooms.forget(room);
            self.held.emptied(room, self.now());
        }
    }

    /// Ends a connection's part in everything; the binding is the caller's, if any is left.
    pub(crate) fn end(
        &self,
        connection: &Connection,
        slot: crate::bucket::Slot,
    ) -> Option<Identity> {
        let identity = self.buckets.remove(slot, connection);
        let mut tally = Tally::default();
        let empty = connection.outgoing().end(&mut tally);
        self.forget(&empty);
        tally.report(&self.metrics);
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_logins_have_larger_numbers() {
        let logins = Logins::start();
        let first = logins.next();

        assert!(logins.next() > first);
        assert!(first > 1 << LOGIN_BITS);
    }
}
