//! Packets: a header of 16 bytes and a body.
//!
//! ```text
//!  0               4       6       8               12              16
//!  +---------------+-------+-------+---------------+---------------+------
//!  |  packet_len   |hdr_len|  ver  |      op       |      seq      | body
//!  +---------------+-------+-------+---------------+---------------+------
//! ```
//!
//! All integers are signed and big-endian; `packet_len` counts header and body.
//! goim reads a `packet_len` below 16 as an empty body; here it is an error.

use bytes::Bytes;

use crate::{CloseReason, HEADER_BYTES, Header, Op};

const HEADER_LEN: i16 = 16;

/// A packet whose body lies in someone else's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketRef<'a> {
    /// What it is about.
    pub header: Header,
    /// Opaque to the framing.
    pub body: &'a [u8],
}

impl PacketRef<'_> {
    /// Copies the body.
    pub fn to_packet(&self) -> Packet {
        Packet {
            header: self.header,
            body: Bytes::copy_from_slice(self.body),
        }
    }
}

/// A packet that owns its body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packet {
    /// What it is about.
    pub header: Header,
    /// Opaque to the framing.
    pub body: Bytes,
}

impl Packet {
    /// Borrows the body.
    pub fn as_packet_ref(&self) -> PacketRef<'_> {
        PacketRef {
            header: self.header,
            body: &self.body,
        }
    }
}

/// A peer sent something that is no packet. The stream has lost its framing: the
/// caller closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// `packet_len` is negative or does not even cover the header.
    #[error("packet length {0} is below 16")]
    PacketLen(i32),
    /// The body is longer than the caller allows.
    #[error("packet length {packet_len} is above {packet_bytes_max}")]
    TooLarge {
        /// As announced.
        packet_len: i32,
        /// Header and longest body, in bytes.
        packet_bytes_max: usize,
    },
    /// `header_len` is not 16.
    #[error("header length {0} is not 16")]
    HeaderLen(i16),
    /// A message or batch ends inside a packet.
    #[error("packet is cut short")]
    Truncated,
}

impl PacketError {
    /// Why the connection that sent it is closed.
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::TooLarge { .. } => CloseReason::TooLarge,
            Self::PacketLen(_) | Self::HeaderLen(_) | Self::Truncated => CloseReason::Malformed,
        }
    }
}

/// Takes one packet from the front of a stream and says how many bytes it was;
/// `None` means that more bytes are needed.
///
/// Lengths are checked as soon as they are there: a body above `body_bytes_max`
/// is refused without waiting for it.
pub fn decode(
    input: &[u8],
    body_bytes_max: usize,
) -> Result<Option<(PacketRef<'_>, usize)>, PacketError> {
    let Some(packet_len) = input.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else {
        return Ok(None);
    };
    let packet_bytes = checked_len(packet_len, body_bytes_max)?;
    let Some(head) = input.first_chunk::<HEADER_BYTES>() else {
        if let Some(header_len) = input.get(4..6) {
            check_header_len(header_len[0], header_len[1])?;
        }
        return Ok(None);
    };
    check_header_len(head[4], head[5])?;
    let Some(body) = input.get(HEADER_BYTES..packet_bytes) else {
        return Ok(None);
    };
    let header = decode_header(head);
    Ok(Some((PacketRef { header, body }, packet_bytes)))
}

/// Reads the packet that one WebSocket message carries. Bytes after it are ignored,
/// as goim does.
pub fn decode_message(input: &[u8], body_bytes_max: usize) -> Result<PacketRef<'_>, PacketError> {
    match decode(input, body_bytes_max)? {
        Some((packet, _)) => Ok(packet),
        None => Err(PacketError::Truncated),
    }
}

/// Appends a packet. The body is at most `i32::MAX` − 16 bytes long.
pub fn encode(out: &mut Vec<u8>, header: Header, body: &[u8]) {
    out.reserve(HEADER_BYTES + body.len());
    out.extend_from_slice(&encode_header(header, body.len()));
    out.extend_from_slice(body);
}

/// The first 16 bytes of a packet whose body has `body_bytes` bytes, at most
/// `i32::MAX` − 16.
pub fn encode_header(header: Header, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let packet_len = i32::try_from(HEADER_BYTES + body_bytes).unwrap_or(i32::MAX);
    let mut out = [0; HEADER_BYTES];
    out[..4].copy_from_slice(&packet_len.to_be_bytes());
    out[4..6].copy_from_slice(&HEADER_LEN.to_be_bytes());
    out[6..8].copy_from_slice(&header.ver.to_be_bytes());
    out[8..12].copy_from_slice(&header.op.0.to_be_bytes());
    out[12..].copy_from_slice(&header.seq.to_be_bytes());
    out
}

fn checked_len(packet_len: i32, body_bytes_max: usize) -> Result<usize, PacketError> {
    let packet_bytes_max = HEADER_BYTES.saturating_add(body_bytes_max);
    match usize::try_from(packet_len) {
        Ok(len) if len > packet_bytes_max => Err(PacketError::TooLarge {
            packet_len,
            packet_bytes_max,
        }),
        Ok(len) if len >= HEADER_BYTES => Ok(len),
        Ok(_) | Err(_) => Err(PacketError::PacketLen(packet_len)),
    }
}

fn check_header_len(high: u8, low: u8) -> Result<(), PacketError> {
    match i16::from_be_bytes([high, low]) {
        HEADER_LEN => Ok(()),
        other => Err(PacketError::HeaderLen(other)),
    }
}

fn decode_header(head: &[u8; HEADER_BYTES]) -> Header {
    let [_, _, _, _, _, _, v0, v1, o0, o1, o2, o3, s0, s1, s2, s3] = *head;
    Header {
        ver: i16::from_be_bytes([v0, v1]),
        op: Op(i32::from_be_bytes([o0, o1, o2, o3])),
        seq: i32::from_be_bytes([s0, s1, s2, s3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 18] = *b"\0\0\0\x12\0\x10\0\x01\0\0\0\x04\0\0\0\x07hi";

    #[test]
    fn waits_for_the_whole_packet() {
        for end in 0..PACKET.len() {
            assert_eq!(decode(&PACKET[..end], 4096), Ok(None), "{end} bytes");
        }
        let header = Header {
            ver: 1,
            op: Op::SEND,
            seq: 7,
        };
        let packet = PacketRef {
            header,
            body: b"hi",
        };
        assert_eq!(decode(&PACKET, 4096), Ok(Some((packet, 18))));
    }

    #[test]
    fn refuses_a_long_body_before_it_arrives() {
        let error = PacketError::TooLarge {
            packet_len: 18,
            packet_bytes_max: 17,
        };
        assert_eq!(decode(&PACKET[..4], 1), Err(error));
        assert_eq!(error.close_reason(), CloseReason::TooLarge);
    }

    #[test]
    fn refuses_lengths_below_the_header() {
        for len in [0, 5, 15, -1, i32::MIN] {
            let mut input = PACKET;
            input[..4].copy_from_slice(&len.to_be_bytes());
            assert_eq!(decode(&input, 4096), Err(PacketError::PacketLen(len)));
            assert_eq!(
                decode_message(&input, 4096),
                Err(PacketError::PacketLen(len))
            );
        }
    }

    #[test]
    fn refuses_another_header_length_before_the_header_is_complete() {
        let mut input = PACKET;
        input[5] = 17;
        assert_eq!(decode(&input[..5], 4096), Ok(None));
        assert_eq!(decode(&input[..6], 4096), Err(PacketError::HeaderLen(17)));
        assert_eq!(decode(&input, 4096), Err(PacketError::HeaderLen(17)));
    }

    #[test]
    fn a_limit_beyond_every_length_does_not_overflow() {
        assert!(matches!(decode(&PACKET, usize::MAX), Ok(Some((_, 18)))));
    }

    #[test]
    fn a_message_holds_one_packet_and_perhaps_more() {
        let mut message = PACKET.to_vec();
        message.extend_from_slice(b"tail");
        assert_eq!(decode_message(&message, 4096).unwrap().body, b"hi");
        for end in 0..PACKET.len() {
            assert_eq!(
                decode_message(&PACKET[..end], 4096),
                Err(PacketError::Truncated)
            );
        }
    }
}
