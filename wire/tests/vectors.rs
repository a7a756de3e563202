//! goim's own bytes, both ways.
//!
//! The file holds what goim's encoders wrote. Every vector of the client
//! protocol is read whole and cut at every place, and written again; both must
//! agree byte for byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use halley_wire::ws::{self, Opcode};
use halley_wire::{
    AuthBody, BODY_BYTES_MAX_DEFAULT, CloseReason, HEADER_BYTES, Header, Op, PacketRef, packet,
    raw, sub,
};
use serde_json::Value;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

struct Vector {
    name: String,
    bytes: Vec<u8>,
    decoded: Value,
}

fn vectors() -> Vec<Vector> {
    let file: Vec<Value> = serde_json::from_str(include_str!("goim-vectors.json")).unwrap();
    let vector = |entry: Value| Vector {
        name: entry["name"].as_str().unwrap().to_owned(),
        bytes: hex::decode(entry["hex"].as_str().unwrap()).unwrap(),
        decoded: entry["decoded"].clone(),
    };
    file.into_iter().map(vector).collect()
}

fn vector(name: &str) -> Vector {
    vectors()
        .into_iter()
        .find(|vector| vector.name == name)
        .unwrap()
}

#[test]
fn every_client_vector_is_read_and_written() {
    let mut checked = BTreeMap::new();
    for vector in vectors() {
        let prefix = vector.name.split(['_', ':']).next().unwrap();
        match prefix {
            "tcp" => check_stream(&vector),
            "ws" if vector.name == "ws_handshake_response" => check_handshake(&vector),
            "ws" => check_frame(&vector),
            "raw" => check_batch(&vector.bytes, &packets(&vector.decoded)),
            "bad" | "odd" => check_refused(&vector),
            // What nodes say to each other is checked where it is encoded.
            "grpc" | "kafka" | "cityhash32" => continue,
            other => panic!("vectors {other}_* are left out"),
        }
        *checked.entry(prefix.to_owned()).or_insert(0) += 1;
    }
    let checked: Vec<_> = checked
        .iter()
        .map(|(prefix, count)| (prefix.as_str(), *count))
        .collect();
    assert_eq!(
        checked,
        [("bad", 2), ("odd", 2), ("raw", 1), ("tcp", 18), ("ws", 8)]
    );
}

/// A packet as the file describes it.
#[derive(Clone, Debug, PartialEq)]
struct Expected {
    packet_len: usize,
    header: Header,
    body: Vec<u8>,
}

impl Expected {
    fn new(value: &Value, body: Vec<u8>) -> Self {
        let number = |field: &str| {
            value[field]
                .as_i64()
                .unwrap_or_else(|| panic!("{field} of {value}"))
        };
        if let Some(header_len) = value.get("header_len") {
            assert_eq!(header_len, HEADER_BYTES);
        }
        Self {
            packet_len: usize::try_from(number("packet_len")).unwrap(),
            header: Header {
                ver: i16::try_from(number("ver")).unwrap(),
                op: Op(i32::try_from(number("op")).unwrap()),
                seq: i32::try_from(number("seq")).unwrap(),
            },
            body,
        }
    }

    fn read(value: &Value) -> Self {
        let body = match value["body"].as_str() {
            Some("200 x 'a'") => vec![b'a'; 200],
            Some(text) => text.as_bytes().to_vec(),
            None => {
                let online = value["body"]["online_int32_be"].as_i64().unwrap();
                i32::try_from(online).unwrap().to_be_bytes().to_vec()
            }
        };
        Self::new(value, body)
    }

    fn of(packet: &PacketRef<'_>) -> Self {
        Self {
            packet_len: HEADER_BYTES + packet.body.len(),
            header: packet.header,
            body: packet.body.to_vec(),
        }
    }
}

/// One packet, a list of them, or `packets`.
fn packets(decoded: &Value) -> Vec<Expected> {
    let packets = decoded.get("packets").unwrap_or(decoded);
    match packets.as_array() {
        Some(list) => list.iter().map(Expected::read).collect(),
        None => vec![Expected::read(packets)],
    }
}

fn encode(packets: &[Expected]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        packet::encode(&mut out, packet.header, &packet.body);
    }
    out
}

fn check_stream(vector: &Vector) {
    let expected = packets(&vector.decoded);
    assert_eq!(encode(&expected), vector.bytes, "{}", vector.name);
    for split in 0..=vector.bytes.len() {
        let mut read = Vec::new();
        let mut at = 0;
        for arrived in [split, vector.bytes.len()] {
            let input = &vector.bytes[..arrived];
            while let Some((packet, consumed)) =
                packet::decode(&input[at..], BODY_BYTES_MAX_DEFAULT).unwrap()
            {
                assert_eq!(consumed, HEADER_BYTES + packet.body.len());
                read.push(Expected::of(&packet));
                at += consumed;
            }
        }
        assert_eq!(at, vector.bytes.len());
        assert_eq!(read, expected, "{} at {split}", vector.name);
    }
}

fn check_batch(bytes: &[u8], expected: &[Expected]) {
    let read: Vec<_> = raw::iter(bytes)
        .map(|packet| Expected::of(&packet.unwrap()))
        .collect();
    assert_eq!(read, expected);
    assert_eq!(raw::count(bytes), Ok(expected.len()));
    let mut out = Vec::new();
    for packet in expected {
        raw::push(&mut out, packet.header.op, &packet.body);
    }
    assert_eq!(out, bytes);
}

/// One frame with one packet: alone, or a batch with its outer header.
fn check_frame(vector: &Vector) {
    let decoded = &vector.decoded;
    let expected = if let Some(packet) = decoded.get("packet") {
        Expected::read(packet)
    } else {
        let inner = packets(&decoded["inner"]);
        let outer = Expected::new(&decoded["outer"], encode(&inner));
        assert_eq!(outer.header.op, Op::RAW);
        check_batch(&outer.body, &inner);
        outer
    };
    let is_masked = decoded["ws"]
        .as_str()
        .unwrap()
        .contains("mask key 37fa213d");
    assert_eq!(is_masked, vector.name.ends_with("_masked"));
    check_frame_written(vector, &expected, is_masked);
    check_frame_read(vector, &expected);
}

fn check_frame_written(vector: &Vector, expected: &Expected, is_masked: bool) {
    let mut frame = Vec::new();
    if is_masked {
        let message = encode(std::slice::from_ref(expected));
        ws::encode_masked(&mut frame, Opcode::Binary, &message, MASK);
    } else {
        ws::encode_header(&mut frame, Opcode::Binary, expected.packet_len);
        packet::encode(&mut frame, expected.header, &expected.body);
    }
    assert_eq!(frame, vector.bytes, "{}", vector.name);
}

fn check_frame_read(vector: &Vector, expected: &Expected) {
    let limits = ws::Limits::default();
    for split in 0..vector.bytes.len() {
        let mut decoder = ws::Decoder::default();
        let mut frame = vector.bytes.clone();
        assert_eq!(decoder.next(&mut frame[..split], &limits), Ok(None));
        let Ok(Some((
            consumed,
            ws::Event::Data {
                text: false,
                payload,
            },
        ))) = decoder.next(&mut frame, &limits)
        else {
            panic!("{} at {split}", vector.name);
        };
        assert_eq!(consumed, vector.bytes.len());
        let packet = packet::decode_message(payload, BODY_BYTES_MAX_DEFAULT).unwrap();
        assert_eq!(
            Expected::of(&packet),
            *expected,
            "{} at {split}",
            vector.name
        );
    }
}

/// The upgrade itself is HTTP and comet's; here is only that its text is what the
/// bytes say.
fn check_handshake(vector: &Vector) {
    assert_eq!(
        vector.decoded["text"].as_str().unwrap().as_bytes(),
        vector.bytes
    );
}

/// Refused on TCP and in a WebSocket message, as soon as the bytes that are wrong
/// have arrived. goim reads a `packet_len` below 16 as an empty body; Halley closes
/// the connection, since whoever sends it has lost the framing.
fn check_refused(vector: &Vector) {
    let reason = match vector.name.as_str() {
        "bad_packet_len_4113" => CloseReason::TooLarge,
        _ => CloseReason::Malformed,
    };
    let error = packet::decode(&vector.bytes, BODY_BYTES_MAX_DEFAULT).unwrap_err();
    assert_eq!(error.close_reason(), reason, "{}", vector.name);
    assert_eq!(
        packet::decode_message(&vector.bytes, BODY_BYTES_MAX_DEFAULT),
        Err(error)
    );
    for split in 0..vector.bytes.len() {
        let known = if split
            < if vector.name == "bad_header_len_17" {
                6
            } else {
                4
            } {
            Ok(None)
        } else {
            Err(error)
        };
        assert_eq!(
            packet::decode(&vector.bytes[..split], BODY_BYTES_MAX_DEFAULT),
            known
        );
    }
}

#[test]
fn the_login_body_is_read_and_written() {
    let expected = AuthBody {
        mid: 123,
        key: "dev-1".to_owned(),
        room_id: "live://1000".to_owned(),
        platform: "web".to_owned(),
        accepts: vec![1000, 1001, 1002],
        token: None,
    };
    let body = packets(&vector("tcp_auth").decoded).remove(0).body;
    assert_eq!(AuthBody::parse(&body).unwrap(), expected);
    assert_eq!(expected.to_json().into_bytes(), body);
}

#[test]
fn subscribe_lists_are_read_and_written() {
    for (name, ops) in [("tcp_sub", vec![1003, 1004]), ("tcp_unsub", vec![1003])] {
        let body = packets(&vector(name).decoded).remove(0).body;
        assert_eq!(sub::format(&ops).into_bytes(), body);
        assert_eq!(sub::parse(&body), Some(ops));
    }
}

#[test]
fn operations_have_goims_numbers() {
    let of = |name: &str| packets(&vector(name).decoded)[0].header.op;
    assert_eq!(of("tcp_heartbeat"), Op::HEARTBEAT);
    assert_eq!(of("tcp_heartbeat_reply_no_room"), Op::HEARTBEAT_REPLY);
    assert_eq!(of("tcp_send_msg"), Op::SEND);
    assert_eq!(of("tcp_auth"), Op::AUTH);
    assert_eq!(of("tcp_auth_reply"), Op::AUTH_REPLY);
    assert_eq!(of("tcp_change_room"), Op::CHANGE_ROOM);
    assert_eq!(of("tcp_change_room_reply"), Op::CHANGE_ROOM_REPLY);
    assert_eq!(of("tcp_sub"), Op::SUB);
    assert_eq!(of("tcp_sub_reply"), Op::SUB_REPLY);
    assert_eq!(of("tcp_unsub"), Op::UNSUB);
    assert_eq!(of("tcp_unsub_reply"), Op::UNSUB_REPLY);
}
