//! A room's logs, one per dialect that has members.

use tokio::time::Instant;

use super::Sent;
use crate::frame::{DIALECTS, Dialect, Frame};
use crate::ring::{Chunk, Cursor, Limits, Read, Ring};

/// Guarded by the room's lock. A log exists while it holds something.
#[derive(Debug, Default)]
pub(super) struct Logs {
    rings: [Option<Box<Ring>>; 2],
    members: [u32; 2],
    /// Where the next pass begins: every member has got that far, unless it lags.
    passed: [Cursor; 2],
    /// When the first frame came that no pass has taken.
    waiting_since: Option<Instant>,
    sent: Sent,
}

/// What a walker brings to the members: everything since the last pass began,
/// of which those who were late in that one have some.
#[derive(Debug)]
pub struct Pass {
    from: [Cursor; 2],
    chunks: [Vec<Chunk>; 2],
    oldest: [Cursor; 2],
    heads: [Cursor; 2],
    waiting_since: Option<Instant>,
}

impl Pass {
    /// When the first message of the pass came; `None` if it has none.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// What it brings, oldest first.
    pub fn chunks(&self, dialect: Dialect) -> &[Chunk] {
        &self.chunks[dialect.index()]
    }

    /// The oldest message that could be read.
    pub fn oldest(&self, dialect: Dialect) -> Cursor {
        self.oldest[dialect.index()]
    }

    /// Where the pass ends.
    pub fn head(&self, dialect: Dialect) -> Cursor {
        self.heads[dialect.index()]
    }
}

impl Logs {
    /// Appends to each dialect with members and returns how many those are.
    pub(super) fn append(
        &mut self,
        frame: &Frame,
        limits: Limits,
        publish_head: impl Fn(Dialect, Cursor),
    ) -> u64 {
        let mut members = 0;
        for dialect in DIALECTS {
            let index = dialect.index();
            if self.members[index] == 0 {
                continue;
            }
            members += u64::from(self.members[index]);
            let start = self.passed[index];
            let ring = self.rings[index].get_or_insert_with(|| Box::new(Ring::new(limits, start)));
            ring.append(frame.encoded_bytes(dialect), frame.messages(), |out| {
                frame.encode(dialect, out);
            });
            publish_head(dialect, ring.head());
        }
        if members > 0 && self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        let messages = u64::from(frame.messages());
        self.sent.messages += messages;
        self.sent.deliveries += messages * members;
        members
    }

    /// What was appended since the last call.
    pub(super) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn read(&mut self, dialect: Dialect, cursor: Cursor, chunks_max: usize) -> Read {
        self.rings[dialect.index()]
            .as_mut()
            .map_or(Read::Chunks(Vec::new()), |ring| {
                ring.read(cursor, chunks_max)
            })
    }

    pub(super) fn bytes(&self) -> usize {
        self.rings.iter().flatten().map(|ring| ring.bytes()).sum()
    }

    pub(super) fn begin_pass(&mut self, heads: [Cursor; 2]) -> Pass {
        let waiting_since = self.waiting_since.take();
        let pass = self.bring(self.passed, heads, waiting_since);
        self.passed = heads;
        pass
    }

    /// The same pass with what has come since.
    pub(super) fn renew_pass(&mut self, pass: &Pass, heads: [Cursor; 2]) -> Pass {
        self.bring(pass.from, heads, pass.waiting_since)
    }

    fn bring(
        &mut self,
        from: [Cursor; 2],
        heads: [Cursor; 2],
        waiting_since: Option<Instant>,
    ) -> Pass {
        let mut pass = Pass {
            from,
            chunks: [Vec::new(), Vec::new()],
            oldest: heads,
            heads,
            waiting_since,
        };
        for (index, ring) in self.rings.iter_mut().enumerate() {
            let Some(ring) = ring else {
                continue;
            };
            let oldest = ring.oldest();
            pass.oldest[index] = oldest;
            let from = if from[index].is_before(oldest) {
                oldest
            } else {
                from[index]
            };
            if let Read::Chunks(chunks) = ring.read_merged(from) {
                pass.chunks[index] = chunks;
            }
        }
        pass
    }

    /// Drops what lies before `read`.
    pub(super) fn release(&mut self, read: [Cursor; 2]) {
        for (index, slot) in self.rings.iter_mut().enumerate() {
            if let Some(ring) = slot {
                ring.release(read[index]);
                // A new ring starts where the last pass ended, so only one that
                // holds nothing beyond may go.
                if ring.bytes() == 0 && ring.head() == self.passed[index] {
                    *slot = None;
                }
            }
        }
    }

    pub(super) fn add_member(&mut self, dialect: Dialect) {
        self.members[dialect.index()] += 1;
    }

    pub(super) fn remove_member(&mut self, dialect: Dialect) {
        self.members[dialect.index()] -= 1;
    }
}
