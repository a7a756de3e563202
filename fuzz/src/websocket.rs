//! WebSocket frames.

use halley_wire::packet;
use halley_wire::ws::{self, CONTROL_BYTES_MAX, Event, Limits, Opcode, WsError};

use crate::arrival;

const UTF8: u8 = 1;

/// Messages of a stream do not depend on how it arrives, stay within the limits,
/// never claim more bytes than there are, and are read again as they are written.
///
/// Data: bytes per read, longest message in units of 8 bytes, most fragments of a
/// message, bit 0 for UTF-8 checks, then the stream.
pub fn websocket(data: &[u8]) {
    let [
        chunk_bytes,
        message_units_max,
        fragments_max,
        flags,
        stream @ ..,
    ] = data
    else {
        return;
    };
    let limits = Limits {
        message_bytes_max: usize::from(*message_units_max) * 8,
        fragments_max: usize::from(*fragments_max),
        utf8: flags & UTF8 != 0,
    };
    let whole = decode(stream, [stream.len()], &limits);
    let ends = arrival::ends(stream.len(), usize::from(*chunk_bytes));
    assert_eq!(decode(stream, ends, &limits), whole, "split");
    for seen in &whole.0 {
        check(seen, &limits);
        check_written(seen, &limits);
    }
    check_fragments(&whole.0, &limits);
}

/// An event that owns its payload.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Data { text: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong,
    Close { code: Option<u16>, reason: Vec<u8> },
    Fragment,
}

impl Seen {
    fn new(event: Event<'_>) -> Self {
        match event {
            Event::Data { text, payload } => Self::Data {
                text,
                payload: payload.to_vec(),
            },
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong => Self::Pong,
            Event::Close { code, reason } => Self::Close {
                code,
                reason: reason.to_vec(),
            },
            Event::Fragment => Self::Fragment,
        }
    }
}

fn decode(
    stream: &[u8],
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> (Vec<Seen>, Option<WsError>) {
    let mut decoder = ws::Decoder::default();
    let mut unmasked = stream.to_vec();
    let mut seen = Vec::new();
    let mut at = 0;
    for end in ends {
        loop {
            match decoder.next(&mut unmasked[at..end], limits) {
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
                Ok(Some((consumed, event))) => {
                    seen.push(Seen::new(event));
                    assert!(consumed >= 2, "no frame is that short");
                    at += consumed;
                    assert!(at <= end, "more bytes than there are");
                    assert_eq!(unmasked[at..], stream[at..], "changed what was not taken");
                }
            }
            if let Some(Seen::Close { .. }) = seen.last() {
                return (seen, None);
            }
        }
    }
    assert_eq!(unmasked[at..], stream[at..], "changed what was not taken");
    (seen, None)
}

fn check(seen: &Seen, limits: &Limits) {
    match seen {
        Seen::Data { text, payload } => {
            assert!(payload.len() <= limits.message_bytes_max);
            assert!(!(*text && limits.utf8) || std::str::from_utf8(payload).is_ok());
            if let Ok(packet) = packet::decode_message(payload, limits.message_bytes_max) {
                assert!(packet.body.len() < payload.len());
            }
        }
        Seen::Ping(payload) => assert!(payload.len() <= CONTROL_BYTES_MAX),
        Seen::Close { code, reason } => {
            assert!(code.is_none_or(ws::is_close_code));
            assert!(code.is_some() || reason.is_empty());
            assert!(reason.len() <= CONTROL_BYTES_MAX - 2);
            assert!(std::str::from_utf8(reason).is_ok());
        }
        Seen::Pong | Seen::Fragment => {}
    }
}

/// Written as one frame, masked and not, it is read as the same.
fn check_written(seen: &Seen, limits: &Limits) {
    let close;
    let (opcode, payload) = match seen {
        Seen::Data {
            text: true,
            payload,
        } => (Opcode::Text, payload),
        Seen::Data {
            text: false,
            payload,
        } => (Opcode::Binary, payload),
        Seen::Ping(payload) => (Opcode::Ping, payload),
        Seen::Close {
            code: Some(code),
            reason,
        } => {
            close = [&code.to_be_bytes(), reason.as_slice()].concat();
            (Opcode::Close, &close)
        }
        Seen::Close { code: None, .. } | Seen::Pong | Seen::Fragment => return,
    };
    let mut masked = Vec::new();
    ws::encode_masked(&mut masked, opcode, payload, [0x37, 0xfa, 0x21, 0x3d]);
    let mut plain = Vec::new();
    ws::encode_header(&mut plain, opcode, payload.len());
    plain.extend_from_slice(payload);
    for frame in [masked, plain] {
        assert_eq!(
            decode(&frame, [frame.len()], limits),
            (vec![seen.clone()], None)
        );
    }
}

/// A message has no more fragments than allowed, the last one included.
fn check_fragments(seen: &[Seen], limits: &Limits) {
    let mut fragments = 0;
    for seen in seen {
        match seen {
            Seen::Fragment => fragments += 1,
            Seen::Data { .. } => {
                assert!(fragments == 0 || fragments < limits.fragments_max);
                fragments = 0;
            }
            Seen::Ping(_) | Seen::Pong | Seen::Close { .. } => {}
        }
        assert!(fragments <= limits.fragments_max);
    }
}
