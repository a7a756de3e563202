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
use crate::connection::{Connection, Rules};
use crate::frame::Frame;
use crate::metrics::{Metrics, PushKind};
use crate::online::Online;
use crate::ring;
use crate::room::{Room, Rooms};
use crate::session::SessionLimits;
use crate::tally::{DropReason, Tally};
use crate::transport::FramingLimits;
use crate::walker;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: Config,
    /// The node's name in the whole system.
    pub(crate) server: String,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) ring_limits: ring::Limits,
    pub(crate) buckets: Buckets,
    pub(crate) rooms: Rooms,
    pub(crate) online: Online,
    pub(crate) admission: Arc<Admission>,
    pub(crate) calls: Calls,
    pub(crate) metrics: Arc<Metrics>,
    /// Connections and walkers; waited for when draining.
    pub(crate) tasks: TaskTracker,
    /// Broadcasts under way.
    pub(crate) broadcasts: TaskTracker,
    /// No new connections.
    pub(crate) accepting: CancellationToken,
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

    /// Starts a walker over `room`; its wake-up must have said so.
    pub(crate) fn walk(self: &Arc<Self>, room: Arc<Room>) {
        self.tasks.spawn(walker::walk(Arc::clone(self), room));
    }

    /// Makes the connection a member of the room `name`.
    pub(crate) fn join(&self, name: &str, connection: &Arc<Connection>) {
        let mut outgoing = connection.outgoing();
        if outgoing.is_closed() {
            return;
        }
        self.rooms.join(name, connection, &mut outgoing, || {
            self.online.elsewhere(name)
        });
    }

    /// Takes the connection out of all its rooms.
    pub(crate) fn leave(&self, connection: &Connection, tally: &mut Tally) {
        let empty = connection.outgoing().leave(DropReason::LeftRoom, tally);
        for room in empty {
            self.rooms.forget(&room);
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
        for room in empty {
            self.rooms.forget(&room);
        }
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
