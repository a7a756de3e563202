//! Frames to send. All are final: nothing is fragmented.

use bytes::BufMut;

use super::frame::{FIN, HEADER_BYTES_MAX, LENGTH_16, LENGTH_64, MASKED};
use super::{CONTROL_BYTES_MAX, Opcode, apply_mask};

/// Appends the head of an unmasked frame; the caller appends `payload_bytes`
/// bytes of payload.
pub fn encode_header(out: &mut impl BufMut, opcode: Opcode, payload_bytes: usize) {
    let (head, length) = head(opcode, payload_bytes);
    out.put_slice(&head[..length]);
}

/// Appends a masked frame, as a client sends it.
pub fn encode_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let (mut head, length) = head(opcode, payload.len());
    head[1] |= MASKED;
    out.reserve(length + mask.len() + payload.len());
    out.extend_from_slice(&head[..length]);
    out.extend_from_slice(&mask);
    let payload_at = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[payload_at..], mask);
}

/// Appends an unmasked close frame. A reason that does not fit is cut at the end
/// of a character.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let code = code.to_be_bytes();
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - code.len())];
    encode_header(out, Opcode::Close, code.len() + reason.len());
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

/// A head without mask and how many bytes of it count.
fn head(opcode: Opcode, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut head = [0; HEADER_BYTES_MAX];
    head[0] = FIN | opcode.code();
    let short = u8::try_from(payload_bytes)
        .ok()
        .filter(|bytes| *bytes < LENGTH_16);
    if let Some(bytes) = short {
        head[1] = bytes;
        (head, 2)
    } else if let Ok(bytes) = u16::try_from(payload_bytes) {
        head[1] = LENGTH_16;
        head[2..4].copy_from_slice(&bytes.to_be_bytes());
        (head, 4)
    } else {
        head[1] = LENGTH_64;
        head[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        (head, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65535, &[0x82, 126, 0xff, 0xff]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1 << 40, &[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]),
        ];
        for (payload_bytes, expected) in cases {
            let mut out = Vec::new();
            encode_header(&mut out, Opcode::Binary, payload_bytes);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn masks_as_in_the_rfc() {
        let mut out = Vec::new();
        encode_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(&mut out, 1012, &"ü".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xf4]);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("ü".repeat(61).as_str()));
    }
}
