//! A run of frames that was sealed: immutable, shared, contiguous bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Cursor;

/// Where a frame ends, both counted from the start of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) offset: usize,
    pub(super) messages: u32,
}

/// A run of frames; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    start: Cursor,
    bytes: Bytes,
    ends: Arc<[End]>,
}

/// What a partial write of a chunk left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    /// The first frame boundary at or after the last byte written.
    pub cursor: Cursor,
    /// The rest of the frame that was torn; empty if the write ended on a boundary.
    pub tail: Bytes,
    /// Messages in the torn frame; 0 if none was torn.
    pub tail_messages: u32,
}

impl Chunk {
    pub(super) fn new(start: Cursor, bytes: Bytes, ends: Vec<End>) -> Self {
        debug_assert_eq!(ends.last().map(|end| end.offset), Some(bytes.len()));
        Self {
            start,
            bytes,
            ends: ends.into(),
        }
    }

    /// Sequence number of the first message.
    pub fn start(&self) -> Cursor {
        self.start
    }

    /// Sequence number after the last message.
    pub fn end(&self) -> Cursor {
        let messages = self.ends.last().map_or(0, |end| end.messages);
        self.start.advanced(u64::from(messages))
    }

    /// All frames.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn frames(&self) -> usize {
        self.ends.len()
    }

    /// The frames from `cursor` on, which must be a frame boundary or lie before the chunk.
    pub fn from(&self, cursor: Cursor) -> &[u8] {
        &self.bytes[self.offset(cursor)..]
    }

    /// Where a write that started at `cursor` and wrote `written` bytes stopped.
    pub fn split(&self, cursor: Cursor, written: usize) -> Split {
        let stopped = self.offset(cursor) + written;
        let torn = self.ends.partition_point(|end| end.offset < stopped);
        let Some(end) = self.ends.get(torn) else {
            return Split {
                cursor: self.end(),
                tail: Bytes::new(),
                tail_messages: 0,
            };
        };
        let start = torn.checked_sub(1).map(|before| self.ends[before]);
        let (start_offset, start_messages) = start.map_or((0, 0), |end| (end.offset, end.messages));
        if stopped == start_offset {
            return Split {
                cursor: self.start.advanced(u64::from(start_messages)),
                tail: Bytes::new(),
                tail_messages: 0,
            };
        }
        let tail = self.bytes.slice(stopped..end.offset);
        Split {
            cursor: self.start.advanced(u64::from(end.messages)),
            tail_messages: if tail.is_empty() {
                0
            } else {
                end.messages - start_messages
            },
            tail,
        }
    }

    /// The frames before `cursor`, a frame boundary within, and those from there on.
    pub(super) fn cut(&self, cursor: Cursor) -> (Self, Self) {
        let messages = u32::try_from(cursor.since(self.start))
            .expect("invariant: a chunk has fewer messages than 2^32");
        let offset = self.offset(cursor);
        let place = self.ends.partition_point(|end| end.offset <= offset);
        let (before, after) = self.ends.split_at(place);
        let after = after.iter().map(|end| End {
            offset: end.offset - offset,
            messages: end.messages - messages,
        });
        let rest = Self::new(cursor, self.bytes.slice(offset..), after.collect());
        let first = Self::new(self.start, self.bytes.slice(..offset), before.to_vec());
        (first, rest)
    }

    fn offset(&self, cursor: Cursor) -> usize {
        if !self.start.is_before(cursor) {
            return 0;
        }
        let messages = cursor.since(self.start);
        let next = self
            .ends
            .partition_point(|end| u64::from(end.messages) <= messages);
        debug_assert!(
            next > 0 && u64::from(self.ends[next - 1].messages) == messages,
            "a cursor inside a frame"
        );
        next.checked_sub(1)
            .map_or(0, |before| self.ends[before].offset)
    }
}

/// The frames of consecutive chunks in chunks of up to `bytes_max` bytes, unless
/// one of them is larger already.
pub(super) fn merged(chunks: impl Iterator<Item = Chunk>, bytes_max: usize) -> Vec<Chunk> {
    let mut merged = Vec::new();
    let (mut run, mut run_bytes) = (Vec::new(), 0);
    for chunk in chunks {
        let bytes = chunk.bytes.len();
        if run_bytes + bytes > bytes_max {
            merged.extend(join(&mut run));
            run_bytes = 0;
        }
        run_bytes += bytes;
        run.push(chunk);
    }
    merged.extend(join(&mut run));
    merged
}

/// One chunk of all in the run, which is then empty.
fn join(run: &mut Vec<Chunk>) -> Option<Chunk> {
    if run.len() < 2 {
        return run.pop();
    }
    let start = run.first()?.start;
    let bytes = run.iter().map(|chunk| chunk.bytes.len()).sum();
    let mut joined = BytesMut::with_capacity(bytes);
    let mut ends: Vec<End> = Vec::new();
    let mut messages = 0;
    for chunk in run.drain(..) {
        let offset = joined.len();
        ends.extend(chunk.ends.iter().map(|end| End {
            offset: offset + end.offset,
            messages: messages + end.messages,
        }));
        messages = ends.last().map_or(0, |end| end.messages);
        joined.extend_from_slice(&chunk.bytes);
    }
    Some(Chunk::new(start, joined.freeze(), ends))
}
