//! The log of one room in one dialect: a bounded ring of encoded frames.
//!
//! A push is appended once, whatever the number of members; a member is only a
//! [`Cursor`] into the log. Appended frames are *pending* until a pass seals
//! them into one [`Chunk`], so that everything since the last pass is one
//! contiguous slice, written to each member with one system call.
//!
//! Invariants: chunks are immutable, contiguous in sequence and ordered;
//! `oldest <= every readable cursor <= head`; what is evicted or released is
//! never readable again. The ring does no I/O, takes no lock and has no clock.

use std::collections::VecDeque;

use bytes::BytesMut;

mod chunk;
mod cursor;

pub use chunk::Chunk;
pub use cursor::Cursor;

/// Bytes that the first buffer of a log holds; doubled with each buffer filled.
const BUFFER_BYTES_MIN: usize = 1 << 10;
/// Bytes that a buffer grows to.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How much a log keeps for members that have not read it yet.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Encoded bytes, at least one frame is always kept.
    pub bytes_max: usize,
    /// Frames.
    pub frames_max: usize,
}

/// What a member reads from its cursor on.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The chunks from the cursor on, oldest first; the first may start before it.
    Chunks(Vec<Chunk>),
    /// The cursor fell out of the ring; this is what can still be read.
    Evicted(Cursor),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Ring {
    limits: Limits,
    sealed: VecDeque<Chunk>,
    sealed_bytes: usize,
    sealed_frames: usize,
    /// Frames since the last seal, and where each ends.
    pending: BytesMut,
    pending_start: Cursor,
    pending_ends: Vec<chunk::End>,
    buffer_bytes: usize,
}

impl Ring {
    /// An empty log whose first message has the sequence number `start`.
    pub fn new(limits: Limits, start: Cursor) -> Self {
        Self {
            limits,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            sealed_frames: 0,
            pending: BytesMut::new(),
            pending_start: start,
            pending_ends: Vec::new(),
            buffer_bytes: BUFFER_BYTES_MIN,
        }
    }

    /// The sequence number that the next message gets.
    pub fn head(&self) -> Cursor {
        let pending = self.pending_ends.last().map_or(0, |end| end.messages);
        self.pending_start.advanced(u64::from(pending))
    }

    /// The first sequence number that can still be read.
    pub fn oldest(&self) -> Cursor {
        self.sealed.front().map_or(self.pending_start, Chunk::start)
    }

    /// Appends one frame of `messages` messages, encoded by `encode`.
    ///
    /// Evicts the oldest chunks beyond the limits.
    pub fn append(
        &mut self,
        frame_bytes: usize,
        messages: u32,
        encode: impl FnOnce(&mut BytesMut),
    ) {
        self.reserve(frame_bytes);
        encode(&mut self.pending);
        let messages_before = self.pending_ends.last().map_or(0, |end| end.messages);
        self.pending_ends.push(chunk::End {
            offset: self.pending.len(),
            messages: messages_before + messages,
        });
        if self.pending.len() >= BUFFER_BYTES_MAX {
            self.seal();
        }
        self.evict();
    }

    /// Makes everything appended so far readable as one more chunk.
    pub fn seal(&mut self) {
        if self.pending_ends.is_empty() {
            return;
        }
        let head = self.head();
        let ends = std::mem::take(&mut self.pending_ends);
        let chunk = Chunk::new(self.pending_start, self.pending.split().freeze(), ends);
        self.sealed_bytes += chunk.bytes().len();
        self.sealed_frames += chunk.frames();
        self.sealed.push_back(chunk);
        self.pending_start = head;
    }

    /// What follows `cursor`, sealed, in at most `chunks_max` chunks.
    pub fn read(&mut self, cursor: Cursor, chunks_max: usize) -> Read {
        let first = match self.seal_and_find(cursor) {
            Ok(first) => first,
            Err(oldest) => return Read::Evicted(oldest),
        };
        Read::Chunks(
            self.sealed
                .iter()
                .skip(first)
                .take(chunks_max)
                .cloned()
                .collect(),
        )
    }

    /// As [`read`](Self::read), in as few chunks as their size allows, the first
    /// of which does not start before `cursor`.
    ///
    /// A member that reads for itself seals what is pending, and when many do,
    /// a chunk is hardly more than a frame. Copying them together once is
    /// nothing beside a system call for each of them and each member.
    pub fn read_merged(&mut self, cursor: Cursor) -> Read {
        let mut first = match self.seal_and_find(cursor) {
            Ok(first) => first,
            Err(oldest) => return Read::Evicted(oldest),
        };
        if let Some(chunk) = self.sealed.get(first)
            && chunk.start().is_before(cursor)
        {
            let (before, rest) = chunk.cut(cursor);
            self.sealed[first] = before;
            first += 1;
            self.sealed.insert(first, rest);
        }
        let chunks = chunk::merged(self.sealed.drain(first..), BUFFER_BYTES_MAX);
        self.sealed.extend(chunks.iter().cloned());
        Read::Chunks(chunks)
    }

    /// Drops what every member has read: all before `cursor`.
    ///
    /// A log that is read to its head gives its buffer back too.
    pub fn release(&mut self, cursor: Cursor) {
        while self
            .sealed
            .front()
            .is_some_and(|chunk| !cursor.is_before(chunk.end()))
        {
            self.pop_oldest();
        }
        if self.sealed.is_empty() && self.pending_ends.is_empty() {
            self.pending = BytesMut::new();
            self.pending_ends = Vec::new();
            self.sealed = VecDeque::new();
            self.buffer_bytes = BUFFER_BYTES_MIN;
        }
    }

    /// Bytes held for members that have not read them.
    pub fn bytes(&self) -> usize {
        self.sealed_bytes + self.pending.len()
    }

    /// The place of the first chunk that reaches beyond `cursor`, with everything
    /// sealed; what can still be read if the cursor fell out.
    fn seal_and_find(&mut self, cursor: Cursor) -> Result<usize, Cursor> {
        if cursor.is_before(self.oldest()) {
            return Err(self.oldest());
        }
        self.seal();
        Ok(self
            .sealed
            .partition_point(|chunk| !cursor.is_before(chunk.end())))
    }

    fn reserve(&mut self, frame_bytes: usize) {
        if self.pending.capacity() - self.pending.len() >= frame_bytes {
            return;
        }
        // A full buffer is sealed and replaced, not grown: growing would copy it.
        self.seal();
        self.pending = BytesMut::with_capacity(self.buffer_bytes.max(frame_bytes));
        self.buffer_bytes = (self.buffer_bytes * 2).min(BUFFER_BYTES_MAX);
    }

    fn evict(&mut self) {
        let over = |ring: &Self| {
            ring.bytes() > ring.limits.bytes_max
                || ring.sealed_frames + ring.pending_ends.len() > ring.limits.frames_max
        };
        if !over(self) {
            return;
        }
        if self.sealed.is_empty() && self.pending_ends.len() > 1 {
            self.seal();
        }
        while over(self) && self.oldest() != self.head() && self.holds_more_than_newest() {
            self.pop_oldest();
        }
    }

    fn holds_more_than_newest(&self) -> bool {
        self.sealed.len() > 1 || (self.sealed.len() == 1 && !self.pending_ends.is_empty())
    }

    fn pop_oldest(&mut self) {
        if let Some(chunk) = self.sealed.pop_front() {
            self.sealed_bytes -= chunk.bytes().len();
            self.sealed_frames -= chunk.frames();
        }
    }
}

#[cfg(test)]
mod tests;
