//! The stamp in front of every pushed body.

use bytes::{BufMut, Bytes, BytesMut};

/// The shortest body that holds a stamp, bytes.
pub(crate) const STAMP_BYTES: usize = 28;

/// Sequence numbers stay below this, so that a damaged stamp cannot make a tracker grow without bound.
pub(crate) const SEQ_MAX: u32 = 1 << 26;

/// What a receiver needs to account for a message and to time it. Integers are big-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run of the tool: messages of others are passed over.
    pub(crate) run: u64,
    /// When the message should have been sent, on the clock of [`now_ns`](crate::clock::now_ns).
    pub(crate) intended_ns: u64,
    /// The room or the user that the message is for.
    pub(crate) stream: u32,
    /// Position in the stream, from 0 without gaps.
    pub(crate) seq: u32,
    /// All messages of the stream with a lower `seq` had been answered before this one was sent: whoever gets one of
    /// those after this one got them out of order. Pushes that were on their way together have no order to keep.
    pub(crate) settled: u32,
}

impl Stamp {
    /// The stamp, filled up to `size` bytes.
    pub(crate) fn encode(&self, size: usize) -> Bytes {
        let mut body = BytesMut::with_capacity(size.max(STAMP_BYTES));
        body.put_u64(self.run);
        body.put_u64(self.intended_ns);
        body.put_u32(self.stream);
        body.put_u32(self.seq);
        body.put_u32(self.settled);
        body.resize(size.max(STAMP_BYTES), b'.');
        body.freeze()
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (run, rest) = body.split_first_chunk()?;
        let (intended_ns, rest) = rest.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (settled, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u64::from_be_bytes(*run),
            intended_ns: u64::from_be_bytes(*intended_ns),
            stream: u32::from_be_bytes(*stream),
            seq: u32::from_be_bytes(*seq),
            settled: u32::from_be_bytes(*settled),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_from_a_body_of_any_size() {
        let stamp = Stamp {
            run: 0x0123_4567_89ab_cdef,
            intended_ns: 42,
            stream: 7,
            seq: 9,
            settled: 8,
        };
        for size in [0, STAMP_BYTES, 90, 4096] {
            let body = stamp.encode(size);
            assert_eq!(body.len(), size.max(STAMP_BYTES));
            assert_eq!(Stamp::decode(&body), Some(stamp));
        }
        assert_eq!(Stamp::decode(&stamp.encode(0)[1..]), None);
    }
}
