use proptest::prelude::*;

use super::*;

const ROOMY: Limits = Limits {
    bytes_max: 1 << 20,
    frames_max: 1 << 16,
};

fn append(ring: &mut Ring, frame: &[u8], messages: u32) {
    ring.append(frame.len(), messages, |out| out.extend_from_slice(frame));
}

fn read_all(ring: &mut Ring, cursor: Cursor) -> Vec<u8> {
    let Read::Chunks(chunks) = ring.read(cursor, usize::MAX) else {
        panic!("evicted");
    };
    let frames: Vec<_> = chunks.iter().map(|chunk| chunk.from(cursor)).collect();
    frames.concat()
}

#[test]
fn a_member_reads_everything_since_its_cursor() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    append(&mut ring, b"one", 1);
    let cursor = ring.head();
    append(&mut ring, b"two", 1);
    append(&mut ring, b"three+four", 2);

    assert_eq!(read_all(&mut ring, cursor), b"twothree+four");
    assert_eq!(ring.head().since(cursor), 3);
}

#[test]
fn frames_of_one_pass_are_one_chunk() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    for _ in 0..8 {
        append(&mut ring, b"frame", 1);
    }

    let Read::Chunks(chunks) = ring.read(Cursor::new(0), usize::MAX) else {
        panic!("evicted");
    };
    assert_eq!(chunks.len(), 1);
}

#[test]
fn a_pass_merges_what_members_sealed() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    for number in 0..8_u8 {
        append(&mut ring, &[number; 3], 2);
        ring.seal();
    }
    append(&mut ring, &vec![8; BUFFER_BYTES_MAX], 1);
    let bytes = ring.bytes();
    let from = Cursor::new(6);

    let Read::Chunks(chunks) = ring.read_merged(from) else {
        panic!("evicted");
    };

    let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.from(from).len()).collect();
    assert_eq!(sizes, [15, BUFFER_BYTES_MAX]);
    assert_eq!(chunks[0].from(Cursor::new(10)), [5, 5, 5, 6, 6, 6, 7, 7, 7]);
    assert_eq!(
        (chunks[0].end(), chunks[1].end()),
        (Cursor::new(16), ring.head())
    );
    assert_eq!(read_all(&mut ring, Cursor::new(0)).len(), bytes);
    assert_eq!(ring.bytes(), bytes);
    ring.release(ring.head());
    assert_eq!(ring.bytes(), 0);
}

#[test]
fn a_pass_from_within_a_chunk_leaves_its_beginning_to_those_behind() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    append(&mut ring, b"one", 1);
    append(&mut ring, b"two+three", 2);
    append(&mut ring, b"four", 1);
    ring.seal();
    append(&mut ring, b"five", 1);
    let from = Cursor::new(3);

    let Read::Chunks(chunks) = ring.read_merged(from) else {
        panic!("evicted");
    };

    assert_eq!(chunks.len(), 1);
    assert_eq!(
        (chunks[0].start(), &chunks[0].bytes()[..]),
        (from, &b"fourfive"[..])
    );
    assert_eq!(read_all(&mut ring, Cursor::new(1)), b"two+threefourfive");
    ring.release(from);
    assert_eq!((ring.oldest(), ring.bytes()), (from, 8));
}

#[test]
fn a_log_read_to_its_head_holds_no_memory() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    append(&mut ring, &vec![7; 100_000], 1);
    ring.seal();
    ring.release(ring.head());

    assert_eq!(ring.bytes(), 0);
    assert_eq!(ring.pending.capacity(), 0);
    assert_eq!(ring.oldest(), ring.head());
}

#[test]
fn release_keeps_what_somebody_has_not_read() {
    let mut ring = Ring::new(ROOMY, Cursor::new(0));
    append(&mut ring, b"one", 1);
    ring.seal();
    append(&mut ring, b"two", 1);
    ring.seal();
    ring.release(Cursor::new(1));

    assert_eq!(ring.oldest(), Cursor::new(1));
    assert_eq!(read_all(&mut ring, Cursor::new(1)), b"two");
}

#[test]
fn a_cursor_that_fell_out_is_told_so() {
    let limits = Limits {
        bytes_max: 10,
        frames_max: 100,
    };
    let mut ring = Ring::new(limits, Cursor::new(0));
    for _ in 0..10 {
        append(&mut ring, b"frame", 1);
        ring.seal();
    }

    assert_eq!(ring.read(Cursor::new(0), 1), Read::Evicted(Cursor::new(8)));
    assert!(ring.bytes() <= 10);
    assert_eq!(ring.head(), Cursor::new(10));
}

#[test]
fn one_frame_larger_than_the_limit_is_kept() {
    let limits = Limits {
        bytes_max: 10,
        frames_max: 100,
    };
    let mut ring = Ring::new(limits, Cursor::new(0));
    append(&mut ring, &[1; 50], 1);

    assert_eq!(read_all(&mut ring, Cursor::new(0)).len(), 50);
}

#[test]
fn cursors_order_across_the_wrap() {
    let before = Cursor::new(u64::MAX);
    let after = before.advanced(2);

    assert!(before.is_before(after));
    assert!(!after.is_before(before));
    assert_eq!(after.since(before), 2);
    assert!(!before.is_before(before));
}

proptest! {
    /// A reader that takes arbitrary bites gets every byte in order, or is told
    /// exactly how many messages it missed.
    #[test]
    fn never_reorders_and_never_skips_unseen(
        start in prop_oneof![Just(0), Just(u64::MAX - 20), any::<u64>()],
        bytes_max in 20usize..400,
        frames_max in 2usize..40,
        steps in prop::collection::vec((0u8..5, 1usize..40, 1u32..4), 1..200),
    ) {
        let mut ring = Ring::new(Limits { bytes_max, frames_max }, Cursor::new(start));
        // The model: every byte ever appended, and where each message's frame ends.
        let mut stream = Vec::new();
        let mut boundaries = vec![(0u64, 0usize)];
        let mut cursor = Cursor::new(start);
        let mut position = 0usize;
        let mut appended = 0u64;
        let mut accounted = 0u64;
        let mut fill = 0u8;

        for (action, size, messages) in steps {
            match action {
                0 | 1 => {
                    fill = fill.wrapping_add(1);
                    append(&mut ring, &vec![fill; size], messages);
                    stream.extend(std::iter::repeat_n(fill, size));
                    appended += u64::from(messages);
                    boundaries.push((appended, stream.len()));
                }
                2 => ring.seal(),
                3 => drop(ring.read_merged(cursor)),
                _ => match ring.read(cursor, 3) {
                    Read::Evicted(_) => {
                        let dropped = ring.head().since(cursor);
                        accounted += dropped;
                        cursor = ring.head();
                        position = stream.len();
                    }
                    Read::Chunks(chunks) => {
                        // One write that stops after `size` bytes, then the torn frame's tail.
                        let mut budget = size;
                        for chunk in chunks {
                            let slice = chunk.from(cursor);
                            let written = slice.len().min(budget);
                            budget -= written;
                            let split = chunk.split(cursor, written);
                            let taken = written + split.tail.len();
                            prop_assert_eq!(&stream[position..position + taken], &slice[..taken]);
                            position += taken;
                            accounted += split.cursor.since(cursor);
                            cursor = split.cursor;
                            if budget == 0 {
                                break;
                            }
                        }
                    }
                },
            }
            prop_assert_eq!(ring.head().since(Cursor::new(start)), appended);
            prop_assert_eq!(cursor.since(Cursor::new(start)), accounted);
            prop_assert!(boundaries.contains(&(accounted, position)), "stopped inside a frame");
        }
    }
}
