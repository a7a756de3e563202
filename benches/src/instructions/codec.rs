//! Packets, batches, WebSocket frames and bodies.

use std::hint::black_box;

use halley_wire::ws::{self, Opcode};
use halley_wire::{AuthBody, BODY_BYTES_MAX_DEFAULT, Header, Op, packet, raw, sub};

use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("packet: encode", packet_encode),
    case("packet: decode", packet_decode),
    case("batch of 20: push", batch_push),
    case("batch of 20: count", batch_count),
    case("websocket: encode", websocket_encode),
    case("websocket: encode masked", websocket_encode_masked),
    case("websocket: decode masked", websocket_decode),
    case("websocket: decode masked 4 KiB", websocket_decode_long),
    case("auth: parse", auth_parse),
    case("sub: parse", sub_parse),
];

const BODY: [u8; 90] = [b'm'; 90];
const BATCH: usize = 20;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const PUSH: Header = Header {
    ver: 1,
    op: Op(1000),
    seq: 0,
};

fn encoded(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packet::encode(&mut out, PUSH, body);
    out
}

fn packet_encode(times: u32) {
    let mut out = Vec::new();
    for _ in 0..times {
        out.clear();
        packet::encode(black_box(&mut out), PUSH, black_box(&BODY));
    }
}

fn packet_decode(times: u32) {
    let packet = encoded(&BODY);
    for _ in 0..times {
        let decoded = packet::decode(black_box(&packet), BODY_BYTES_MAX_DEFAULT);
        assert!(matches!(decoded, Ok(Some(_))));
    }
}

fn push_batch(out: &mut Vec<u8>) {
    for _ in 0..BATCH {
        raw::push(black_box(out), PUSH.op, black_box(&BODY));
    }
}

fn batch_push(times: u32) {
    let mut out = Vec::new();
    for _ in 0..times {
        out.clear();
        push_batch(&mut out);
    }
}

fn batch_count(times: u32) {
    let mut batch = Vec::new();
    push_batch(&mut batch);
    for _ in 0..times {
        assert!(matches!(raw::count(black_box(&batch)), Ok(BATCH)));
    }
}

fn websocket_encode(times: u32) {
    let message = encoded(&BODY);
    let mut out = Vec::new();
    for _ in 0..times {
        out.clear();
        ws::encode_header(black_box(&mut out), Opcode::Binary, message.len());
        out.extend_from_slice(black_box(&message));
    }
}

fn websocket_encode_masked(times: u32) {
    let message = encoded(&BODY);
    let mut out = Vec::new();
    for _ in 0..times {
        out.clear();
        ws::encode_masked(
            black_box(&mut out),
            Opcode::Binary,
            black_box(&message),
            MASK,
        );
    }
}

fn websocket_decode(times: u32) {
    decode_masked(&BODY, times);
}

fn websocket_decode_long(times: u32) {
    decode_masked(&[b'm'; BODY_BYTES_MAX_DEFAULT], times);
}

/// Decoding unmasks in place, so every second go reads noise of the same length.
fn decode_masked(body: &[u8], times: u32) {
    let limits = ws::Limits::default();
    let mut decoder = ws::Decoder::default();
    let mut frame = Vec::new();
    ws::encode_masked(&mut frame, Opcode::Binary, &encoded(body), MASK);
    for _ in 0..times {
        let event = decoder.next(black_box(&mut frame), &limits);
        assert!(matches!(event, Ok(Some((_, ws::Event::Data { .. })))));
    }
}

fn auth_parse(times: u32) {
    let body = AuthBody {
        mid: 123,
        key: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        room_id: "live://1000".to_owned(),
        platform: "web".to_owned(),
        accepts: vec![1000, 1001, 1002],
        token: None,
    };
    let json = body.to_json();
    for _ in 0..times {
        assert!(AuthBody::parse(black_box(json.as_bytes())).is_ok());
    }
}

fn sub_parse(times: u32) {
    for _ in 0..times {
        assert!(sub::parse(black_box(b"1000,1001,1002")).is_some());
    }
}
