//! Writing everything that waits, in as few system calls as possible.

use std::io::{self, IoSlice};

use bytes::Bytes;
use halley_wire::CloseReason;
use smallvec::SmallVec;

use super::SlowConsumer;
use super::outgoing::Outgoing;
use crate::ring::Chunk;
use crate::tally::Tally;
use crate::transport::end_of;

/// Pieces handed to one system call.
const PIECES_MAX: usize = 64;
/// Writes in a row before others get their turn.
const WRITES_MAX: usize = 16;

/// Where bytes go; never waits.
pub trait Sink {
    /// Writes the beginning of `slices`; `WouldBlock` if nothing fits.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether a partial write means that nothing more fits.
    fn full_after_partial(&self) -> bool {
        true
    }
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// Its turn was over; more can be written.
    More,
    /// Nothing more fits.
    Blocked,
}

enum Piece {
    Outbox(Bytes),
    Room {
        membership: usize,
        chunk: Chunk,
        bytes: Bytes,
    },
}

impl Piece {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Outbox(bytes) | Self::Room { bytes, .. } => bytes,
        }
    }
}

type Pieces = SmallVec<[Piece; 4]>;

impl Outgoing {
    /// Writes what waits: the outbox, then the rooms.
    pub fn flush(
        &mut self,
        sink: &mut impl Sink,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
    ) -> Result<Flushed, CloseReason> {
        for _ in 0..WRITES_MAX {
            let pieces = self.pieces(slow_consumer, tally)?;
            if pieces.is_empty() {
                return Ok(Flushed::All);
            }
            let slices: SmallVec<[IoSlice<'_>; 4]> = pieces
                .iter()
                .map(|piece| IoSlice::new(piece.bytes()))
                .collect();
            let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
            tally.writes += 1;
            match sink.write(&slices) {
                Ok(0) => return Err(CloseReason::IoError),
                Ok(written) => {
                    tally.bytes += written as u64;
                    self.advance(&pieces, written, tally);
                    if written < wanted && sink.full_after_partial() {
                        return Ok(Flushed::Blocked);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Blocked);
                }
                Err(error) => return Err(end_of(&error)),
            }
        }
        Ok(Flushed::More)
    }

    fn pieces(
        &mut self,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
    ) -> Result<Pieces, CloseReason> {
        let mut pieces = Pieces::new();
        if let Some(outbox) = &self.outbox {
            let frames = outbox.iter().take(PIECES_MAX);
            pieces.extend(frames.map(|frame| Piece::Outbox(frame.bytes.clone())));
        }
        let state = (self.dialect(), self.is_blocked());
        for (index, membership) in self.memberships.iter_mut().enumerate() {
            let left = PIECES_MAX - pieces.len();
            if left == 0 {
                break;
            }
            let chunks = membership.read(state, left, slow_consumer, tally)?;
            pieces.extend(chunks.into_iter().map(|chunk| Piece::Room {
                membership: index,
                bytes: chunk.bytes().slice_ref(chunk.from(membership.cursor)),
                chunk,
            }));
        }
        Ok(pieces)
    }

    /// Moves on by `written` bytes.
    fn advance(&mut self, pieces: &Pieces, mut written: usize, tally: &mut Tally) {
        for piece in pieces {
            if written == 0 {
                break;
            }
            let taken = written.min(piece.bytes().len());
            written -= taken;
            match piece {
                Piece::Outbox(_) => self.advance_outbox(taken, tally),
                Piece::Room {
                    membership, chunk, ..
                } => {
                    if let Some(rest) = self.memberships[*membership].split(chunk, taken, tally) {
                        self.set_torn(rest);
                    }
                }
            }
        }
    }

    fn advance_outbox(&mut self, taken: usize, tally: &mut Tally) {
        if let Some(outbox) = &mut self.outbox {
            tally.delivered += u64::from(outbox.advance(taken));
            if outbox.is_empty() {
                self.outbox = None;
            }
        }
    }
}
