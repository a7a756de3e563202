//! What a connection has yet to be sent.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use halley_wire::CloseReason;
use smallvec::SmallVec;

use super::outbox::{Outbox, Waiting};
use super::{Accepts, Flushed, OutboxLimits, SlowConsumer};
use crate::frame::Dialect;
use crate::ring::{Chunk, Cursor, Read};
use crate::room::Room;
use crate::tally::{DropReason, Tally};
use crate::transport::end_of;

/// A room that the connection is in, and how far it has read it.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) room: Arc<Room>,
    pub(super) slot: u32,
    pub(super) cursor: Cursor,
}

impl Membership {
    /// The room.
    fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

/// Bytes up to which a frame that waits is copied.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// A frame that has to wait: a small one lets go of the job's message that it
/// came in, which may be as large as all that wait here together may be.
fn kept(bytes: Bytes) -> Bytes {
    if bytes.len() > COPIED_BYTES_MAX {
        return bytes;
    }
    Bytes::copy_from_slice(&bytes)
}

/// Guarded by the connection's lock. Idle, it holds no memory of its own.
#[derive(Debug)]
pub struct Outgoing {
    dialect: Dialect,
    blocked: bool,
    held_back: bool,
    closed: bool,
    pub(super) outbox: Option<Box<Outbox>>,
    /// One with goim's clients.
    pub(super) memberships: SmallVec<[Membership; 1]>,
    accepts: Accepts,
}

impl Outgoing {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            blocked: false,
            held_back: false,
            closed: false,
            outbox: None,
            memberships: SmallVec::new(),
            accepts: Accepts::default(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The operations that pushes must have to reach the connection.
    pub fn accepts(&mut self) -> &mut Accepts {
        &mut self.accepts
    }

    /// Whether nothing can be written now: the socket had no room, or the
    /// login is not to be answered yet.
    pub fn is_blocked(&self) -> bool {
        self.blocked || self.held_back
    }

    /// Whether the login is not to be answered yet, so that everything waits.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back
    }

    /// Has everything wait, or go on.
    pub(crate) fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    /// Notes whether the socket has room.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something waits before whatever comes next, rooms aside.
    pub fn is_queued(&self) -> bool {
        self.outbox.is_some()
    }

    /// Whether an answer to the client waits.
    pub(crate) fn has_reply(&self) -> bool {
        self.outbox
            .as_ref()
            .is_some_and(|outbox| outbox.has_reply())
    }

    /// The room of a connection that is in one.
    pub fn room(&self) -> Option<&Arc<Room>> {
        self.memberships.first().map(Membership::room)
    }

    /// How far the connection has read `room`; `None` if it is no member.
    pub fn cursor(&self, room: &Room) -> Option<Cursor> {
        self.membership(room).map(|membership| membership.cursor)
    }

    /// Joins `room`; `false` if the room was given up meanwhile.
    pub fn join(&mut self, room: Arc<Room>, connection: &Arc<super::Connection>) -> bool {
        let Some((slot, cursor)) = room.join(connection) else {
            return false;
        };
        self.memberships.push(Membership { room, slot, cursor });
        true
    }

    /// Leaves every room and counts what it had not read there.
    ///
    /// Returns the rooms that nobody is left in.
    pub fn leave(&mut self, reason: DropReason, tally: &mut Tally) -> SmallVec<[Arc<Room>; 1]> {
        let mut empty = SmallVec::new();
        for membership in self.memberships.drain(..) {
            let left = membership.room.leave(membership.slot, self.dialect);
            tally.drop(reason, left.head.since(membership.cursor));
            if left.is_empty {
                empty.push(membership.room);
            }
        }
        empty
    }

    /// Ends the connection: counts what waits and refuses more.
    ///
    /// Returns the rooms that nobody is left in.
    pub fn end(&mut self, tally: &mut Tally) -> SmallVec<[Arc<Room>; 1]> {
        self.closed = true;
        let queued = self.outbox.take().map_or(0, |outbox| outbox.messages());
        tally.drop(DropReason::Closed, queued);
        self.leave(DropReason::Closed, tally)
    }

    /// Queues a push; `false` if the outbox is full.
    pub(super) fn queue_push(&mut self, bytes: Bytes, messages: u32, limits: OutboxLimits) -> bool {
        let bytes = kept(bytes);
        self.outbox
            .get_or_insert_default()
            .try_push(Waiting { bytes, messages }, limits)
    }

    /// Queues a reply.
    pub(crate) fn queue_reply(&mut self, bytes: Bytes) {
        self.outbox
            .get_or_insert_default()
            .push(Waiting { bytes, messages: 0 });
    }

    /// Writes one frame past the empty queue.
    ///
    /// What the socket does not take waits.
    pub(super) fn write_direct(
        &mut self,
        bytes: &Bytes,
        messages: u32,
        mut socket: &TcpStream,
        tally: &mut Tally,
    ) -> Result<Flushed, CloseReason> {
        debug_assert!(!self.is_queued() && !self.blocked, "something waits");
        tally.writes += 1;
        match socket.write(bytes) {
            Ok(written) if written == bytes.len() => {
                tally.delivered += u64::from(messages);
                Ok(Flushed::All)
            }
            Ok(written) => {
                let bytes = kept(bytes.slice(written..));
                self.set_torn(Waiting { bytes, messages });
                Ok(Flushed::Blocked)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let bytes = kept(bytes.clone());
                self.set_torn(Waiting { bytes, messages });
                Ok(Flushed::Blocked)
            }
            Err(error) => {
                tally.drop(DropReason::Closed, u64::from(messages));
                Err(end_of(&error))
            }
        }
    }

    /// What a walker's pass has to be written next, if nothing else waits and the
    /// member had read everything before the pass; `None` otherwise.
    pub(super) fn due<'a>(
        &self,
        room: &Room,
        chunks: &'a [Chunk],
    ) -> Option<(&'a Chunk, &'a [u8])> {
        if self.is_queued() {
            return None;
        }
        let cursor = self.membership(room)?.cursor;
        if cursor.is_before(chunks.first()?.start()) {
            return None;
        }
        let chunk = chunks.iter().find(|chunk| cursor.is_before(chunk.end()))?;
        Some((chunk, chunk.from(cursor)))
    }

    /// Notes what became of writing `bytes` of `chunk`.
    pub(super) fn wrote(
        &mut self,
        room: &Room,
        chunk: &Chunk,
        bytes: &[u8],
        result: io::Result<usize>,
        tally: &mut Tally,
    ) -> Result<Flushed, CloseReason> {
        let Some(membership) = self.membership_mut(room) else {
            return Ok(Flushed::All);
        };
        tally.writes += 1;
        tally.bytes += *result.as_ref().unwrap_or(&0) as u64;
        match result {
            Ok(written) if written == bytes.len() => {
                tally.delivered += chunk.end().since(membership.cursor);
                membership.cursor = chunk.end();
                Ok(Flushed::All)
            }
            Ok(written) => {
                if let Some(rest) = membership.split(chunk, written, tally) {
                    self.set_torn(rest);
                }
                Ok(Flushed::Blocked)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Flushed::Blocked),
            Err(error) => Err(end_of(&error)),
        }
    }

    /// Goes on with message `to` of a room that it fell out of.
    pub(super) fn skip_to(&mut self, room: &Room, to: Cursor, tally: &mut Tally) {
        if let Some(membership) = self.membership_mut(room) {
            membership.skip_to(to, tally);
        }
    }

    /// Has the rest of a torn frame go first.
    pub(super) fn set_torn(&mut self, rest: Waiting) {
        self.outbox.get_or_insert_default().set_torn(rest);
    }

    fn membership(&self, room: &Room) -> Option<&Membership> {
        self.memberships
            .iter()
            .find(|membership| std::ptr::eq(Arc::as_ptr(&membership.room), room))
    }

    fn membership_mut(&mut self, room: &Room) -> Option<&mut Membership> {
        self.memberships
            .iter_mut()
            .find(|membership| std::ptr::eq(Arc::as_ptr(&membership.room), room))
    }
}

impl Membership {
    /// Counts what lies before `to` as missed.
    fn skip_to(&mut self, to: Cursor, tally: &mut Tally) {
        tally.drop(DropReason::SlowConsumer, to.since(self.cursor));
        self.cursor = to;
    }

    /// What there is to read, in at most `chunks_max` chunks.
    ///
    /// A member that fell out of the ring goes on where it can: if its socket
    /// was full, as the policy says; otherwise whoever should have written came
    /// too late, and it misses no more than what is gone.
    pub(super) fn read(
        &mut self,
        (dialect, is_blocked): (Dialect, bool),
        chunks_max: usize,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
    ) -> Result<Vec<Chunk>, CloseReason> {
        let head = self.room.head(dialect);
        if !self.cursor.is_before(head) {
            return Ok(Vec::new());
        }
        loop {
            match self.room.read(dialect, self.cursor, chunks_max) {
                Read::Chunks(chunks) => return Ok(chunks),
                Read::Evicted(oldest) if !is_blocked => self.skip_to(oldest, tally),
                Read::Evicted(_) => match slow_consumer {
                    SlowConsumer::Skip => self.skip_to(self.room.head(dialect), tally),
                    SlowConsumer::Close => return Err(CloseReason::SlowConsumer),
                },
            }
        }
    }

    /// Moves the cursor to the next frame boundary after a partial write.
    ///
    /// The torn frame's rest is copied, so that a slow reader holds no chunk.
    pub(super) fn split(
        &mut self,
        chunk: &Chunk,
        written: usize,
        tally: &mut Tally,
    ) -> Option<Waiting> {
        let split = chunk.split(self.cursor, written);
        tally.delivered += split.cursor.since(self.cursor) - u64::from(split.tail_messages);
        self.cursor = split.cursor;
        if split.tail.is_empty() {
            return None;
        }
        Some(Waiting {
            bytes: Bytes::copy_from_slice(&split.tail),
            messages: split.tail_messages,
        })
    }
}
