//! What a room's walker does at one of its members.

use std::io::Write as _;
use std::net::TcpStream;

use halley_wire::CloseReason;
use parking_lot::MutexGuard;

use super::outgoing::Outgoing;
use super::{Connection, Flushed, PlainSink, Rules, SlowConsumer};
use crate::clock::Tick;
use crate::ring::{Chunk, Cursor};
use crate::room::{Pass, Room};
use crate::tally::Tally;

/// What a walker found at a member.
pub(crate) enum Walked<'a> {
    /// Nothing is left to write for it; its position, if that could be told.
    At(Option<Cursor>),
    /// It has to be sent what the pass brings.
    Due(Due<'a>),
}

/// A member that nobody else writes to until it has been sent its part of a pass.
pub(crate) struct Due<'a> {
    member: &'a Connection,
    socket: &'a TcpStream,
    outgoing: MutexGuard<'a, Outgoing>,
    chunk: &'a Chunk,
    bytes: &'a [u8],
}

impl Connection {
    /// Looks at what a walker's pass has for this member.
    ///
    /// One that is behind for other reasons is sent all that waits at once.
    pub(crate) fn walk<'a>(
        &'a self,
        room: &Room,
        pass: &'a Pass,
        rules: &Rules,
        now: Tick,
        tally: &mut Tally,
    ) -> Walked<'a> {
        let Some(mut outgoing) = self.outgoing.try_lock() else {
            // Whoever holds the lock may have looked at the log before it grew.
            self.wake();
            return Walked::At(None);
        };
        let Some(cursor) = outgoing.cursor(room) else {
            // It left; what it had not been sent is counted there.
            return Walked::At(Some(pass.head(self.dialect)));
        };
        if !cursor.is_before(pass.head(self.dialect)) {
            return Walked::At(Some(cursor));
        }
        let oldest = pass.oldest(self.dialect);
        if cursor.is_before(oldest) {
            if outgoing.is_blocked() {
                self.fell_out(&mut outgoing, room, rules, tally);
                return Walked::At(outgoing.cursor(room));
            }
            // The pass came too late for it, not the other way round.
            outgoing.skip_to(room, oldest, tally);
        }
        match self.socket.as_ref() {
            Some(socket) if !outgoing.is_blocked() => {
                if let Some((chunk, bytes)) = outgoing.due(room, pass.chunks(self.dialect)) {
                    return Walked::Due(Due {
                        member: self,
                        socket,
                        outgoing,
                        chunk,
                        bytes,
                    });
                }
                let before = tally.bytes;
                let flushed = outgoing.flush(&mut PlainSink(socket), rules.slow_consumer, tally);
                self.flushed(flushed, &mut outgoing, before != tally.bytes, now);
            }
            None if !outgoing.is_blocked() => self.wake(),
            Some(_) | None => {}
        }
        Walked::At(outgoing.cursor(room))
    }

    fn fell_out(&self, outgoing: &mut Outgoing, room: &Room, rules: &Rules, tally: &mut Tally) {
        match rules.slow_consumer {
            SlowConsumer::Skip => outgoing.skip_to(room, room.head(self.dialect), tally),
            SlowConsumer::Close => self.close(CloseReason::SlowConsumer),
        }
    }
}

impl Due<'_> {
    /// Sends the member its part; returns its position then.
    pub(crate) fn write(
        mut self,
        room: &Room,
        pass: &Pass,
        now: Tick,
        tally: &mut Tally,
    ) -> Option<Cursor> {
        let before = tally.bytes;
        let chunks = pass.chunks(self.member.dialect);
        let (mut chunk, mut bytes) = (self.chunk, self.bytes);
        let flushed = loop {
            let sent = self.socket.write(bytes);
            let flushed = self.outgoing.wrote(room, chunk, bytes, sent, tally);
            if flushed != Ok(Flushed::All) {
                break flushed;
            }
            let Some(next) = self.outgoing.due(room, chunks) else {
                break flushed;
            };
            (chunk, bytes) = next;
        };
        let progress = before != tally.bytes;
        self.member
            .flushed(flushed, &mut self.outgoing, progress, now);
        self.outgoing.cursor(room)
    }
}
