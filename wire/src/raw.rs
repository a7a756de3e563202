//! Batches: complete packets back to back, as the body of an [`Op::RAW`] packet
//! or, on TCP, as they are.

use std::iter::FusedIterator;

use crate::{Header, Op, PacketError, PacketRef, packet};

/// Appends one message as an inner packet: ver 1, seq 0.
pub fn push(out: &mut Vec<u8>, op: Op, body: &[u8]) {
    packet::encode(out, Header { ver: 1, op, seq: 0 }, body);
}

/// Walks the packets of a batch. After an error there is nothing more.
pub fn iter(body: &[u8]) -> Iter<'_> {
    Iter { rest: body }
}

/// Counts the packets of a batch, if it is nothing but complete packets.
pub fn count(body: &[u8]) -> Result<usize, PacketError> {
    let mut packets = 0;
    for packet in iter(body) {
        packet?;
        packets += 1;
    }
    Ok(packets)
}

/// See [`iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<PacketRef<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        // A body cannot be longer than the batch, so that is limit enough.
        match packet::decode(rest, usize::MAX) {
            Ok(Some((packet, consumed))) => {
                self.rest = &rest[consumed..];
                Some(Ok(packet))
            }
            Ok(None) => Some(Err(PacketError::Truncated)),
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_batch_has_no_packets() {
        assert_eq!(count(b""), Ok(0));
    }

    #[test]
    fn walks_what_was_pushed() {
        let mut batch = Vec::new();
        push(&mut batch, Op(1000), b"one");
        push(&mut batch, Op(1001), b"");
        let packets: Vec<_> = iter(&batch).map(|packet| packet.unwrap()).collect();
        assert_eq!(packets.len(), 2);
        assert_eq!(
            (packets[0].header.op, packets[0].body),
            (Op(1000), &b"one"[..])
        );
        assert_eq!(
            packets[1].header,
            Header {
                ver: 1,
                op: Op(1001),
                seq: 0
            }
        );
        assert_eq!(count(&batch), Ok(2));
    }

    #[test]
    fn a_batch_cut_anywhere_but_between_packets_is_refused() {
        let mut batch = Vec::new();
        push(&mut batch, Op(1000), b"one");
        push(&mut batch, Op(1001), b"two");
        for end in 0..batch.len() {
            let expected = match end {
                0 => Ok(0),
                19 => Ok(1),
                _ => Err(PacketError::Truncated),
            };
            assert_eq!(count(&batch[..end]), expected, "{end} bytes");
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut packets = iter(b"\0\0\0\x05rest of the batch");
        assert_eq!(packets.next(), Some(Err(PacketError::PacketLen(5))));
        assert_eq!(packets.next(), None);
    }
}
