//! A room's log.

use std::hint::black_box;

use self::comet::ring::{Cursor, Limits, Read, Ring};
use crate::{Case, case};

/// Comet's source, without what comet depends on, which takes minutes to build
/// for release: the log needs none of it.
#[allow(
    dead_code,
    unreachable_pub,
    reason = "what is public there is not all needed here"
)]
#[path = "../../../comet/src"]
mod comet {
    pub(super) mod ring;
}

pub(crate) const CASES: &[Case] = &[
    case("ring: append, pass and release", append_and_release),
    case("ring: append, never read", append_never_read),
    case("ring: a pass of 32 frames", pass_of_many),
    case("ring: read from a cursor", read_from_cursor),
    case("ring: split a partial write", split),
];

const FRAME: [u8; 106] = [7; 106];
const LIMITS: Limits = Limits {
    bytes_max: 1 << 20,
    frames_max: 256,
};

fn append(ring: &mut Ring) {
    ring.append(FRAME.len(), 1, |out| {
        out.extend_from_slice(black_box(&FRAME));
    });
}

fn append_and_release(times: u32) {
    let mut ring = Ring::new(LIMITS, Cursor::new(0));
    for _ in 0..times {
        append(&mut ring);
        ring.seal();
        ring.release(ring.head());
    }
}

fn append_never_read(times: u32) {
    let mut ring = Ring::new(LIMITS, Cursor::new(0));
    for _ in 0..times {
        append(black_box(&mut ring));
    }
}

fn pass_of_many(times: u32) {
    let mut ring = Ring::new(LIMITS, Cursor::new(0));
    for _ in 0..times {
        let from = ring.head();
        (0..32).for_each(|_| append(&mut ring));
        assert!(matches!(
            ring.read(black_box(from), usize::MAX),
            Read::Chunks(_)
        ));
        ring.release(ring.head());
    }
}

/// Sixteen chunks of eight frames.
fn filled() -> Ring {
    let mut ring = Ring::new(LIMITS, Cursor::new(0));
    for _ in 0..16 {
        (0..8).for_each(|_| append(&mut ring));
        ring.seal();
    }
    ring
}

fn read_from_cursor(times: u32) {
    let mut ring = filled();
    for _ in 0..times {
        let read = ring.read(black_box(Cursor::new(100)), 64);
        assert!(matches!(read, Read::Chunks(chunks) if chunks.len() == 4));
    }
}

fn split(times: u32) {
    let Read::Chunks(chunks) = filled().read(Cursor::new(0), 1) else {
        unreachable!("nothing was evicted");
    };
    for _ in 0..times {
        let split = chunks[0].split(black_box(Cursor::new(2)), black_box(3 * FRAME.len() + 50));
        assert_eq!(split.tail.len(), FRAME.len() - 50);
    }
}
