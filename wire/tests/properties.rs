//! What holds for every packet, frame and sequence of bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use halley_wire::ws::{self, Opcode, WsError};
use halley_wire::{AuthBody, HEADER_BYTES, Header, Op, Packet, PacketError, packet, raw, sub};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const BODY_BYTES_MAX: usize = 300;

fn any_packet() -> impl Strategy<Value = Packet> {
    (
        any::<(i16, i32, i32)>(),
        vec(any::<u8>(), 0..=BODY_BYTES_MAX),
    )
        .prop_map(|((ver, op, seq), body)| Packet {
            header: Header {
                ver,
                op: Op(op),
                seq,
            },
            body: body.into(),
        })
}

/// Cuts a stream at the given places, in order, with its end as the last.
fn arrivals(cuts: &[Index], stream_bytes: usize) -> Vec<usize> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream_bytes + 1)).collect();
    places.sort_unstable();
    places.push(stream_bytes);
    places
}

/// Reads packets as the stream arrives.
fn read_packets(stream: &[u8], arrivals: &[usize]) -> (Vec<Packet>, Option<PacketError>) {
    let mut packets = Vec::new();
    let mut at = 0;
    for arrived in arrivals {
        loop {
            match packet::decode(&stream[at..*arrived], BODY_BYTES_MAX) {
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
                Ok(Some((packet, consumed))) => {
                    assert_eq!(consumed, HEADER_BYTES + packet.body.len());
                    at += consumed;
                    packets.push(packet.to_packet());
                }
            }
        }
    }
    (packets, None)
}

/// An event that owns its payload.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Data(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, Vec<u8>),
    Fragment,
}

impl Event {
    fn of(event: ws::Event<'_>) -> Self {
        match event {
            ws::Event::Data { text, payload } => Self::Data(text, payload.to_vec()),
            ws::Event::Ping(payload) => Self::Ping(payload.to_vec()),
            ws::Event::Pong => Self::Pong,
            ws::Event::Close { code, reason } => Self::Close(code, reason.to_vec()),
            ws::Event::Fragment => Self::Fragment,
        }
    }
}

/// Reads frames as the stream arrives.
fn read_events(
    stream: &[u8],
    arrivals: &[usize],
    limits: &ws::Limits,
) -> (Vec<Event>, Option<WsError>) {
    let mut decoder = ws::Decoder::default();
    let mut stream = stream.to_vec();
    let mut events = Vec::new();
    let mut at = 0;
    for arrived in arrivals {
        loop {
            match decoder.next(&mut stream[at..*arrived], limits) {
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
                Ok(Some((consumed, event))) => {
                    assert!((2..=arrived - at).contains(&consumed));
                    at += consumed;
                    events.push(Event::of(event));
                }
            }
        }
    }
    (events, None)
}

/// A frame to send: its first byte, its payload and its mask, if any.
type Frame = (u8, Vec<u8>, Option<[u8; 4]>);

fn encode_frame(out: &mut Vec<u8>, (first, payload, mask): &Frame) {
    let frame_at = out.len();
    if let Some(mask) = mask {
        ws::encode_masked(out, Opcode::Binary, payload, *mask);
    } else {
        ws::encode_header(out, Opcode::Binary, payload.len());
        out.extend_from_slice(payload);
    }
    out[frame_at] = *first;
}

/// A message in fragments, with control frames between them.
#[derive(Clone, Debug)]
struct Message {
    text: bool,
    fragments: Vec<(Vec<u8>, Option<[u8; 4]>)>,
    control: Vec<(Index, bool, Vec<u8>)>,
}

fn any_message() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![vec(any::<u8>(), 0..8), vec(any::<u8>(), 120..300)];
    let fragments = vec((payload, any::<Option<[u8; 4]>>()), 1..5);
    let control = vec(
        (any::<Index>(), any::<bool>(), vec(any::<u8>(), 0..=125)),
        0..3,
    );
    (any::<bool>(), fragments, control).prop_map(|(text, fragments, control)| Message {
        text,
        fragments,
        control,
    })
}

impl Message {
    /// What to send, and what is to come out.
    fn lay_out(&self, stream: &mut Vec<u8>, events: &mut Vec<Event>) {
        let last = self.fragments.len() - 1;
        for (index, (payload, mask)) in self.fragments.iter().enumerate() {
            for (place, is_ping, control) in &self.control {
                if place.index(self.fragments.len()) == index {
                    encode_frame(
                        stream,
                        &(if *is_ping { 0x89 } else { 0x8a }, control.clone(), *mask),
                    );
                    events.push(if *is_ping {
                        Event::Ping(control.clone())
                    } else {
                        Event::Pong
                    });
                }
            }
            let fin = if index == last { 0x80 } else { 0 };
            let opcode = match (index, self.text) {
                (0, true) => 1,
                (0, false) => 2,
                _ => 0,
            };
            encode_frame(stream, &(fin | opcode, payload.clone(), *mask));
            events.push(if index == last {
                let joined = self
                    .fragments
                    .iter()
                    .flat_map(|(payload, _)| payload.clone())
                    .collect();
                Event::Data(self.text, joined)
            } else {
                Event::Fragment
            });
        }
    }
}

/// Bytes that are often frames, or nearly.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        4 => prop::sample::select(vec![0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        3 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
    ];
    vec((first, payload, any::<Option<[u8; 4]>>()), 0..6).prop_map(|frames| {
        let mut stream = Vec::new();
        for frame in &frames {
            encode_frame(&mut stream, frame);
        }
        stream
    })
}

fn any_limits() -> impl Strategy<Value = ws::Limits> {
    (0..600_usize, 0..5_usize, any::<bool>()).prop_map(
        |(message_bytes_max, fragments_max, utf8)| ws::Limits {
            message_bytes_max,
            fragments_max,
            utf8,
        },
    )
}

proptest! {
    #[test]
    fn packets_come_out_as_they_went_in(packets in vec(any_packet(), 0..6), cuts: [Index; 4]) {
        let mut stream = Vec::new();
        for packet in &packets {
            packet::encode(&mut stream, packet.header, &packet.body);
        }
        let arrivals = arrivals(&cuts, stream.len());
        prop_assert_eq!(read_packets(&stream, &arrivals), (packets, None));
    }

    #[test]
    fn packets_do_not_depend_on_how_they_arrive(
        mut packets in vec(any_packet(), 1..4),
        change: (Index, u8),
        cuts: [Index; 4],
    ) {
        let mut stream = Vec::new();
        for packet in packets.drain(..) {
            packet::encode(&mut stream, packet.header, &packet.body);
        }
        let place = change.0.index(stream.len());
        stream[place] = change.1;
        let whole = read_packets(&stream, &[stream.len()]);
        prop_assert_eq!(read_packets(&stream, &arrivals(&cuts, stream.len())), whole);
    }

    #[test]
    fn any_bytes_are_packets_or_not(bytes: Vec<u8>, body_bytes_max: usize) {
        if let Ok(Some((packet, consumed))) = packet::decode(&bytes, body_bytes_max) {
            prop_assert!(consumed <= bytes.len());
            prop_assert!(packet.body.len() <= body_bytes_max);
            let mut out = Vec::new();
            packet::encode(&mut out, packet.header, packet.body);
            prop_assert_eq!(&out, &bytes[..consumed]);
        }
        let _ = packet::decode_message(&bytes, body_bytes_max);
        let _ = AuthBody::parse(&bytes);
        let _ = sub::parse(&bytes);
    }

    #[test]
    fn a_message_is_the_packet_at_its_front(packet in any_packet(), tail: Vec<u8>, cut: Index) {
        let mut message = Vec::new();
        packet::encode(&mut message, packet.header, &packet.body);
        let short = &message[..cut.index(message.len())];
        prop_assert_eq!(packet::decode_message(short, BODY_BYTES_MAX), Err(PacketError::Truncated));
        message.extend(tail);
        let decoded = packet::decode_message(&message, BODY_BYTES_MAX);
        prop_assert_eq!(decoded, Ok(packet.as_packet_ref()));
    }

    #[test]
    fn a_batch_counts_as_many_as_it_gives(
        messages in vec((any::<i32>(), vec(any::<u8>(), 0..20)), 0..6),
        change in any::<Option<(Index, u8)>>(),
        cut in any::<Option<Index>>(),
    ) {
        let mut batch = Vec::new();
        for (op, body) in &messages {
            raw::push(&mut batch, Op(*op), body);
        }
        if let (Some((place, byte)), false) = (change, batch.is_empty()) {
            let place = place.index(batch.len());
            batch[place] = byte;
        }
        if let Some(cut) = cut {
            batch.truncate(cut.index(batch.len() + 1));
        }
        let given: Result<Vec<_>, _> = raw::iter(&batch).collect();
        prop_assert_eq!(raw::count(&batch), given.as_ref().map(Vec::len).map_err(|error| *error));
        if let Ok(packets) = given {
            let bytes: usize = packets.iter().map(|packet| HEADER_BYTES + packet.body.len()).sum();
            prop_assert_eq!(bytes, batch.len());
        }
        if change.is_none() && cut.is_none() {
            prop_assert_eq!(raw::count(&batch), Ok(messages.len()));
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in(messages in vec(any_message(), 0..4), cuts: [Index; 6]) {
        let (mut stream, mut events) = (Vec::new(), Vec::new());
        for message in &messages {
            message.lay_out(&mut stream, &mut events);
        }
        let limits = ws::Limits { message_bytes_max: 1500, fragments_max: 4, utf8: false };
        let arrivals = arrivals(&cuts, stream.len());
        prop_assert_eq!(read_events(&stream, &arrivals, &limits), (events, None));
    }

    #[test]
    fn events_do_not_depend_on_how_frames_arrive(
        stream in nearly_frames(),
        limits in any_limits(),
        cuts: [Index; 6],
    ) {
        let whole = read_events(&stream, &[stream.len()], &limits);
        let byte_by_byte: Vec<_> = (0..=stream.len()).collect();
        prop_assert_eq!(read_events(&stream, &byte_by_byte, &limits), whole.clone());
        prop_assert_eq!(read_events(&stream, &arrivals(&cuts, stream.len()), &limits), whole);
    }

    #[test]
    fn text_that_passes_is_utf8(stream in nearly_frames()) {
        let limits = ws::Limits { utf8: true, ..ws::Limits::default() };
        for event in read_events(&stream, &[stream.len()], &limits).0 {
            if let Event::Data(true, payload) = event {
                prop_assert!(std::str::from_utf8(&payload).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_are_frames_or_not(stream: Vec<u8>, limits in any_limits(), cuts: [Index; 4]) {
        let whole = read_events(&stream, &[stream.len()], &limits);
        prop_assert_eq!(read_events(&stream, &arrivals(&cuts, stream.len()), &limits), whole);
    }

    #[test]
    fn login_bodies_come_out_as_they_went_in(
        mid: i64,
        strings: [String; 3],
        accepts: Vec<i32>,
        token: Option<String>,
    ) {
        let [key, room_id, platform] = strings;
        let body = AuthBody { mid, key, room_id, platform, accepts, token };
        prop_assert_eq!(AuthBody::parse(body.to_json().as_bytes()).unwrap(), body);
    }
}
