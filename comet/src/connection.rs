//! One client connection as the rest of the node sees it.
//!
//! Its event loop reads, answers and waits; a room's walker or a pusher may
//! write to the socket from outside, under the lock of what is outgoing. Nobody
//! ever waits for a peer while holding that lock: every write is non-blocking,
//! and what does not fit waits for the event loop.
//!
//! Lock order: outgoing, then the room table, a room's members, a room's logs.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Wake;

use bytes::Bytes;
use halley_wire::CloseReason;
use parking_lot::{Mutex, MutexGuard};

mod accepts;
mod closing;
mod flush;
mod outbox;
mod outgoing;
mod walk;

pub use accepts::{AcceptSets, Accepts};
pub use flush::{Flushed, Sink};
pub use outbox::OutboxLimits;
pub use outgoing::Outgoing;
pub(crate) use walk::Walked;

use crate::clock::Tick;
use crate::event_loop::{Place, Wakes};
use crate::frame::{Dialect, Frame};
use crate::tally::{DropReason, Tally};
use closing::Closing;

/// What happens to a member that fell out of a room's ring, or whose outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowConsumer {
    /// Goes on with the newest message; what it missed is counted.
    #[default]
    Skip,
    /// Is closed with a reason; what it missed is counted.
    Close,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Connection {
    id: u64,
    key: Box<str>,
    dialect: Dialect,
    /// `None`: only its event loop can write, as through TLS.
    socket: Option<TcpStream>,
    wakes: Arc<Wakes>,
    token: u32,
    is_woken: AtomicBool,
    closing: Closing,
    /// When writing last stopped for want of room in the socket; 0 if it did not.
    blocked_since: AtomicU32,
    outgoing: Mutex<Outgoing>,
}

impl Connection {
    /// A connection with the name `key` that was given the number `id` when it
    /// logged in.
    pub(crate) fn new(
        id: u64,
        key: Box<str>,
        dialect: Dialect,
        socket: Option<TcpStream>,
        place: Place,
    ) -> Self {
        let (wakes, token) = place.into_parts();
        Self {
            id,
            key,
            dialect,
            socket,
            wakes,
            token,
            is_woken: AtomicBool::new(false),
            closing: Closing::default(),
            blocked_since: AtomicU32::new(0),
            outgoing: Mutex::new(Outgoing::new(dialect)),
        }
    }

    /// One without a socket, in a loop that nobody runs: for tests and benchmarks.
    pub fn detached(id: u64, key: Box<str>) -> Self {
        Self::new(id, key, Dialect::Tcp, None, Place::nowhere())
    }

    /// The number that tells this connection from others with the same key; later logins have larger ones.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name, which a later login may take over.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How its packets are framed.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The socket, if others than its event loop may write to it.
    pub fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref()
    }

    /// Has its event loop run it again.
    pub fn wake(&self) {
        self.wakes.wake(self.token, &self.is_woken);
    }

    /// Its event loop is about to run it.
    pub(crate) fn begin(&self) {
        Wakes::begin(&self.is_woken);
    }

    /// Asks its event loop to close it; never waits. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        self.closing.set(reason);
        // Also when it is closing already: it may be waiting for a peer that takes too long.
        self.wake();
    }

    /// Why the connection is being closed, once it is.
    pub fn closing(&self) -> Option<CloseReason> {
        self.closing.get()
    }

    /// Since when nothing could be written, if so.
    pub fn blocked_since(&self) -> Option<Tick> {
        match self.blocked_since.load(Ordering::Relaxed) {
            0 => None,
            tick => Some(Tick(tick)),
        }
    }

    /// Notes whether writing stopped for want of room in the socket.
    pub(crate) fn set_blocked(&self, blocked: Option<Tick>) {
        let tick = blocked.map_or(0, |tick| tick.0.max(1));
        if tick == 0 || self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(tick, Ordering::Relaxed);
        }
    }

    /// What is outgoing, for its event loop.
    pub(crate) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock()
    }

    /// Pushes one frame to this connection alone, and writes it now if nothing waits before it.
    ///
    /// Returns `false`, and does nothing, if the connection does not accept `op`.
    pub(crate) fn push(
        &self,
        op: i32,
        frame: &Frame,
        rules: &Rules,
        now: Tick,
        tally: &mut Tally,
    ) -> bool {
        let messages = frame.messages();
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_closed() {
            tally.offline += u64::from(messages);
            return true;
        }
        if !outgoing.accepts().contains(op) {
            return false;
        }
        let bytes = frame.encoded(self.dialect);
        match self.socket.as_ref() {
            Some(socket) if !outgoing.is_queued() && !outgoing.is_blocked() => {
                let flushed = outgoing.write_direct(bytes, messages, socket, tally);
                self.flushed(flushed, &mut outgoing, false, now);
            }
            _ if !outgoing.queue_push(bytes.clone(), messages, rules.outbox) => {
                tally.drop(DropReason::OutboxFull, u64::from(messages));
                if rules.slow_consumer == SlowConsumer::Close {
                    self.close(CloseReason::SlowConsumer);
                }
            }
            _ if outgoing.is_blocked() => {}
            // What it waits behind is the event loop's to write.
            _ => self.wake(),
        }
        true
    }

    /// Sends replies, after what waits already.
    pub(crate) fn reply(&self, replies: Vec<u8>, now: Tick, tally: &mut Tally) {
        let bytes = Bytes::from(replies);
        let mut outgoing = self.outgoing.lock();
        match self.socket.as_ref() {
            Some(socket) if !outgoing.is_queued() && !outgoing.is_blocked() => {
                let flushed = outgoing.write_direct(&bytes, 0, socket, tally);
                self.flushed(flushed, &mut outgoing, false, now);
            }
            _ => outgoing.queue_reply(bytes),
        }
    }

    /// Writes what waits although nobody said that there is room: the kernel does
    /// not before a third of its buffer is free. Returns whether it took any.
    pub(crate) fn write_blocked(&self, rules: &Rules, now: Tick, tally: &mut Tally) -> bool {
        let Some(socket) = self.socket.as_ref() else {
            return false;
        };
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_closed() {
            return false;
        }
        let before = tally.bytes;
        let flushed = outgoing.flush(&mut PlainSink(socket), rules.slow_consumer, tally);
        let has_moved = tally.bytes > before;
        if matches!(flushed, Ok(Flushed::All)) {
            outgoing.set_blocked(false);
            self.set_blocked(None);
        }
        self.flushed(flushed, &mut outgoing, has_moved, now);
        has_moved
    }

    /// Draws the consequences of a write from outside the event loop.
    fn flushed(
        &self,
        flushed: Result<Flushed, CloseReason>,
        outgoing: &mut Outgoing,
        progress: bool,
        now: Tick,
    ) {
        match flushed {
            Ok(Flushed::All) => {}
            Ok(Flushed::More) => self.wake(),
            Ok(Flushed::Blocked) => {
                outgoing.set_blocked(true);
                if progress {
                    self.set_blocked(None);
                }
                self.set_blocked(Some(now));
                // Only the event loop can wait for the socket to become writable.
                self.wake();
            }
            Err(reason) => self.close(reason),
        }
    }
}

impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Self::wake(self);
    }
}

/// The limits and policies that every write obeys.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What may wait for one connection.
    pub outbox: OutboxLimits,
    /// What happens to one that does not keep up.
    pub slow_consumer: SlowConsumer,
}

/// A socket that anyone may write to.
#[derive(Debug)]
pub(crate) struct PlainSink<'a>(pub(crate) &'a TcpStream);

impl Sink for PlainSink<'_> {
    fn write(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [slice] => self.0.write(slice),
            _ => self.0.write_vectored(slices),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_one_small_allocation() {
        // With the two counts of its `Arc` it fits the allocator's class of 128.
        assert!(size_of::<Connection>() <= 112);
    }
}
