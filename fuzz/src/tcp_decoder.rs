//! Packets and what their bodies hold.

use halley_wire::{AuthBody, HEADER_BYTES, Packet, PacketError, PacketRef, packet, raw, sub};

use crate::arrival;

/// Packets of a stream do not depend on how it arrives, never claim more bytes than
/// there are, and are written as they were read.
///
/// Data: bytes per read, longest body in units of 16 bytes, then the stream.
pub fn tcp_decoder(data: &[u8]) {
    let [chunk_bytes, body_units_max, stream @ ..] = data else {
        return;
    };
    let body_bytes_max = usize::from(*body_units_max) * 16;
    let whole = decode(stream, [stream.len()], body_bytes_max);
    let ends = arrival::ends(stream.len(), usize::from(*chunk_bytes));
    assert_eq!(decode(stream, ends, body_bytes_max), whole, "split");
    let (packets, error) = whole;
    let mut written = Vec::new();
    for packet in &packets {
        assert!(packet.body.len() <= body_bytes_max);
        packet::encode(&mut written, packet.header, &packet.body);
        check_body(&packet.body);
    }
    assert!(stream.starts_with(&written), "written otherwise than read");
    check_message(stream, body_bytes_max, packets.first(), error);
    check_batch(stream);
    check_body(stream);
}

fn decode(
    stream: &[u8],
    ends: impl IntoIterator<Item = usize>,
    body_bytes_max: usize,
) -> (Vec<Packet>, Option<PacketError>) {
    let mut packets = Vec::new();
    let mut at = 0;
    for end in ends {
        loop {
            match packet::decode(&stream[at..end], body_bytes_max) {
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
                Ok(Some((packet, consumed))) => {
                    assert_eq!(consumed, HEADER_BYTES + packet.body.len());
                    at += consumed;
                    assert!(at <= end, "more bytes than there are");
                    packets.push(packet.to_packet());
                }
            }
        }
    }
    (packets, None)
}

/// The stream as one WebSocket message holds the same first packet.
fn check_message(
    stream: &[u8],
    body_bytes_max: usize,
    first: Option<&Packet>,
    error: Option<PacketError>,
) {
    let expected = match first {
        Some(packet) => Ok(packet.as_packet_ref()),
        None => Err(error.unwrap_or(PacketError::Truncated)),
    };
    assert_eq!(packet::decode_message(stream, body_bytes_max), expected);
}

/// The stream as a batch is counted as it is walked, and a good one has no gaps.
fn check_batch(stream: &[u8]) {
    let packets: Result<Vec<PacketRef<'_>>, _> = raw::iter(stream).collect();
    assert_eq!(
        raw::count(stream),
        packets.as_ref().map(Vec::len).map_err(|error| *error)
    );
    if let Ok(packets) = packets {
        let bytes: usize = packets
            .iter()
            .map(|packet| HEADER_BYTES + packet.body.len())
            .sum();
        assert_eq!(bytes, stream.len());
    }
}

/// What a login or subscribe body says survives being written again.
fn check_body(body: &[u8]) {
    if let Ok(auth) = AuthBody::parse(body) {
        let again = AuthBody::parse(auth.to_json().as_bytes()).expect("what was written is read");
        assert_eq!(again, auth);
    }
    if let Some(ops) = sub::parse(body) {
        assert_eq!(sub::parse(sub::format(&ops).as_bytes()), Some(ops));
    }
}
