use super::*;
use crate::ws::{encode_header, encode_masked};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const RFC: Limits = Limits {
    message_bytes_max: 1000,
    fragments_max: 4,
    utf8: true,
};
const GOIM: Limits = Limits { utf8: false, ..RFC };

/// A frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_masked(&mut out, Opcode::Binary, payload, MASK);
    out[0] = first;
    out
}

/// What a decoder says about a stream, in words.
fn decode(stream: &[u8], limits: &Limits) -> (Vec<String>, Option<WsError>) {
    let mut decoder = Decoder::default();
    let mut stream = stream.to_vec();
    let mut rest = &mut stream[..];
    let mut events = Vec::new();
    loop {
        let consumed = match decoder.next(rest, limits) {
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
            Ok(Some((consumed, event))) => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                events.push(match event {
                    Event::Data {
                        text: true,
                        payload,
                    } => format!("text {}", text(payload)),
                    Event::Data {
                        text: false,
                        payload,
                    } => format!("binary {}", text(payload)),
                    Event::Ping(payload) => format!("ping {}", text(payload)),
                    Event::Pong => "pong".to_owned(),
                    Event::Close { code, reason } => format!("close {code:?} {}", text(reason)),
                    Event::Fragment => "fragment".to_owned(),
                });
                consumed
            }
        };
        rest = &mut rest[consumed..];
    }
}

fn assert_events(frames: &[Vec<u8>], events: &[&str]) {
    assert_eq!(
        decode(&frames.concat(), &RFC),
        (events.iter().map(ToString::to_string).collect(), None)
    );
}

fn assert_error(frames: &[Vec<u8>], error: WsError) {
    assert_eq!(decode(&frames.concat(), &RFC).1, Some(error), "{frames:x?}");
}

#[test]
fn messages_of_every_length_form() {
    let limits = Limits {
        message_bytes_max: 70_000,
        ..RFC
    };
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; length];
        let (events, error) = decode(&frame(0x82, &payload), &limits);
        assert_eq!((events[0].len(), error), ("binary ".len() + length, None));
    }
}

#[test]
fn frames_need_not_be_masked() {
    let mut stream = Vec::new();
    encode_header(&mut stream, Opcode::Text, 2);
    stream.extend_from_slice(b"hi");
    assert_events(&[stream], &["text hi"]);
}

#[test]
fn lengths_need_not_take_the_shortest_form() {
    assert_events(&[b"\x82\x7e\x00\x02hi".to_vec()], &["binary hi"]);
    assert_events(&[b"\x82\x7f\0\0\0\0\0\0\0\x02hi".to_vec()], &["binary hi"]);
}

#[test]
fn control_frames() {
    let long = "*".repeat(125);
    assert_events(
        &[
            frame(0x89, b""),
            frame(0x89, long.as_bytes()),
            frame(0x8a, b"unasked"),
            frame(0x89, b"\x00\xff"),
        ],
        &["ping ", &format!("ping {long}"), "pong", "ping \0\u{fffd}"],
    );
    for opcode in [0x88, 0x89, 0x8a] {
        assert_error(&[frame(opcode, &[b'*'; 126])], WsError::LongControl);
        assert_error(&[frame(opcode & 0x0f, b"")], WsError::FragmentedControl);
        // Already the first bytes say so.
        assert_error(&[vec![opcode, 0xfe]], WsError::LongControl);
        assert_error(&[vec![opcode & 0x0f]], WsError::FragmentedControl);
    }
}

#[test]
fn reserved_bits_are_refused() {
    for bits in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xa] {
            assert_error(&[frame(0x80 | bits | opcode, b"hi")], WsError::ReservedBits);
        }
    }
    let stream = [frame(0x81, b"hi"), frame(0xa1, b"hi"), frame(0x89, b"")].concat();
    assert_eq!(
        decode(&stream, &RFC),
        (vec!["text hi".to_owned()], Some(WsError::ReservedBits))
    );
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_error(
            &[frame(0x80 | opcode, b"hi")],
            WsError::ReservedOpcode(opcode),
        );
        assert_error(&[frame(opcode, b"")], WsError::ReservedOpcode(opcode));
    }
}

#[test]
fn fragments_are_joined() {
    assert_events(
        &[
            frame(0x01, b"frag"),
            frame(0x00, b""),
            frame(0x00, b"men"),
            frame(0x80, b"ted"),
            frame(0x82, b"next"),
        ],
        &[
            "fragment",
            "fragment",
            "fragment",
            "text fragmented",
            "binary next",
        ],
    );
    assert_events(
        &[
            frame(0x02, b""),
            frame(0x80, b""),
            frame(0x02, b"a"),
            frame(0x80, b"b"),
        ],
        &["fragment", "binary ", "fragment", "binary ab"],
    );
}

#[test]
fn control_frames_may_stand_between_fragments() {
    assert_events(
        &[
            frame(0x01, b"frag"),
            frame(0x89, b"ping"),
            frame(0x00, b"men"),
            frame(0x8a, b""),
            frame(0x80, b"ted"),
            frame(0x88, b""),
        ],
        &[
            "fragment",
            "ping ping",
            "fragment",
            "pong",
            "text fragmented",
            "close None ",
        ],
    );
}

#[test]
fn a_continuation_needs_a_message() {
    for first in [0x00, 0x80] {
        assert_error(&[frame(first, b"")], WsError::UnexpectedContinuation);
        assert_error(
            &[frame(0x81, b"whole"), frame(first, b"")],
            WsError::UnexpectedContinuation,
        );
        let ended = [frame(0x01, b"a"), frame(0x80, b"b"), frame(first, b"")];
        assert_error(&ended, WsError::UnexpectedContinuation);
    }
}

#[test]
fn a_message_needs_its_continuation() {
    for first in [0x01, 0x02, 0x81, 0x82] {
        assert_error(
            &[frame(0x01, b"a"), frame(first, b"b")],
            WsError::ExpectedContinuation,
        );
        let pinged = [frame(0x02, b"a"), frame(0x89, b""), frame(first, b"b")];
        assert_error(&pinged, WsError::ExpectedContinuation);
    }
}

#[test]
fn fragments_are_counted() {
    let mut frames = vec![
        frame(0x02, b"1"),
        frame(0x00, b"2"),
        frame(0x00, b"3"),
        frame(0x80, b"4"),
    ];
    assert_events(
        &frames,
        &["fragment", "fragment", "fragment", "binary 1234"],
    );
    frames.insert(1, frame(0x00, b""));
    assert_error(&frames, WsError::TooManyFragments);
    let none = Limits {
        fragments_max: 0,
        ..RFC
    };
    assert_eq!(
        decode(&frame(0x02, b"a"), &none).1,
        Some(WsError::TooManyFragments)
    );
    assert_eq!(decode(&frame(0x82, b"a"), &none).1, None);
}

#[test]
fn a_long_message_is_refused_before_it_arrives() {
    assert_error(&[b"\x82\x7e\x03\xe9".to_vec()], WsError::TooLarge);
    assert_error(
        &[b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec()],
        WsError::TooLarge,
    );
    assert_error(&[b"\x82\x7f\x80\0\0\0\0\0\0\0".to_vec()], WsError::Length);
    assert_error(&[frame(0x02, &[0; 999]), vec![0x80, 2]], WsError::TooLarge);
    assert_eq!(decode(&frame(0x82, &[0; 1000]), &RFC).1, None);
    assert_eq!(
        decode(&[frame(0x02, &[0; 999]), frame(0x80, b"1")].concat(), &RFC)
            .0
            .len(),
        2
    );
}

#[test]
fn a_control_frame_is_not_part_of_the_message() {
    let ping = frame(0x89, &[0; 125]);
    let frames = [frame(0x02, &[0; 1000]), ping, frame(0x80, b"")].concat();
    assert_eq!(decode(&frames, &RFC).1, None);
}

#[test]
fn close_codes() {
    assert_events(&[frame(0x88, b"")], &["close None "]);
    assert_error(&[frame(0x88, b"\x03")], WsError::CloseBody);
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    for code in valid {
        let close = frame(0x88, &u16::to_be_bytes(code));
        assert_events(&[close], &[&format!("close Some({code}) ")]);
    }
    let invalid = [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ];
    for code in invalid {
        assert_error(
            &[frame(0x88, &u16::to_be_bytes(code))],
            WsError::CloseCode(code),
        );
    }
}

#[test]
fn close_reasons_are_text() {
    let close = |reason: &[u8]| frame(0x88, &[b"\x03\xe8", reason].concat());
    let long = "*".repeat(123);
    assert_events(
        &[close(long.as_bytes())],
        &[&format!("close Some(1000) {long}")],
    );
    assert_error(
        &[close(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")],
        WsError::Utf8,
    );
    assert_error(&[close(&[b'*'; 124])], WsError::LongControl);
    // Control frames are never binary packets in disguise.
    assert_eq!(decode(&close(b"\xff"), &GOIM).1, Some(WsError::Utf8));
}

#[test]
fn text_is_utf8_across_fragments() {
    let text = "Hello-µ@ßöäüàá-UTF-8!! 直播 \u{1f600}".as_bytes();
    let whole = format!("text {}", String::from_utf8_lossy(text));
    assert_events(&[frame(0x81, text)], &[&whole]);
    for split in 0..=text.len() {
        let frames = [
            frame(0x01, &text[..split]),
            frame(0x89, b"\xff"),
            frame(0x80, &text[split..]),
        ];
        assert_events(&frames, &["fragment", "ping \u{fffd}", &whole]);
    }
}

#[test]
fn text_must_not_end_inside_a_character() {
    assert_error(&[frame(0x81, b"\xe2\x82")], WsError::Utf8);
    assert_error(&[frame(0x01, b"\xe2"), frame(0x80, b"\x82")], WsError::Utf8);
    assert_error(&[frame(0x01, b"\xe2"), frame(0x80, b"")], WsError::Utf8);
    assert_events(&[frame(0x01, b"\xe2")], &["fragment"]);
}

#[test]
fn text_that_is_wrong_fails_at_once() {
    // Above U+10FFFF: wrong from the second byte of the character.
    let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
    for (first, last) in [(0x81, None), (0x01, Some(frame(0x80, b"")))] {
        let whole = [frame(first, text), last.unwrap_or_default()].concat();
        let payload_at = 6;
        for arrived in 0..payload_at + text.len() {
            let expected = (arrived > payload_at + 12).then_some(WsError::Utf8);
            assert_eq!(
                decode(&whole[..arrived], &RFC).1,
                expected,
                "{arrived} bytes"
            );
        }
    }
    let fragments = [frame(0x01, &text[..12]), frame(0x00, &text[12..13])];
    assert_error(&fragments, WsError::Utf8);
}

#[test]
fn text_is_checked_once_however_it_arrives() {
    let text = "κόσμε \u{10ffff}";
    let stream = [
        frame(0x01, &text.as_bytes()[..4]),
        frame(0x80, &text.as_bytes()[4..]),
    ]
    .concat();
    let mut decoder = Decoder::default();
    let mut from = 0;
    let mut last = String::new();
    for arrived in 0..=stream.len() {
        let mut input = stream[from..arrived].to_vec();
        if let Some((consumed, event)) = decoder.next(&mut input, &RFC).unwrap() {
            from += consumed;
            if let Event::Data { payload, .. } = event {
                last = String::from_utf8(payload.to_vec()).unwrap();
            }
        } else {
            assert_eq!(
                input,
                stream[from..arrived],
                "bytes that are not taken stay as they are"
            );
        }
    }
    assert_eq!(last, text);
}

#[test]
fn goims_packets_in_text_frames_are_not_text() {
    let stream = [
        frame(0x01, b"\xff"),
        frame(0x80, b"\xfe"),
        frame(0x81, b"\xc0"),
    ]
    .concat();
    let expected = ["fragment", "text \u{fffd}\u{fffd}", "text \u{fffd}"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(decode(&stream, &GOIM), (expected, None));
    let binary = [frame(0x02, b"\xff"), frame(0x80, b"\xfe")].concat();
    assert_eq!(decode(&binary, &RFC).1, None);
}

#[test]
fn nothing_is_held_between_messages() {
    let mut decoder = Decoder::default();
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
    let mut stream = [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x81, b"c")].concat();
    let mut rest = &mut stream[..];
    for held in [true, true, false] {
        let (consumed, _) = decoder.next(rest, &RFC).unwrap().unwrap();
        assert_eq!(decoder.message.is_some(), held);
        rest = &mut rest[consumed..];
    }
    let mut decoder = Decoder::default();
    let mut stream = [frame(0x02, b"a"), frame(0x80, b"b")].concat();
    let (consumed, _) = decoder.next(&mut stream, &RFC).unwrap().unwrap();
    decoder
        .next(&mut stream[consumed..], &RFC)
        .unwrap()
        .unwrap();
    assert_eq!(decoder.next(&mut [], &RFC), Ok(None));
    assert!(decoder.message.is_none());
}

#[test]
fn errors_carry_their_close_code() {
    use crate::CloseReason;
    let cases = [
        (WsError::ReservedBits, 1002, CloseReason::WebSocketProtocol),
        (WsError::CloseCode(0), 1002, CloseReason::WebSocketProtocol),
        (WsError::Utf8, 1007, CloseReason::WebSocketProtocol),
        (WsError::TooLarge, 1009, CloseReason::TooLarge),
        (WsError::TooManyFragments, 1009, CloseReason::TooLarge),
    ];
    for (error, code, reason) in cases {
        assert_eq!((error.close_code(), error.close_reason()), (code, reason));
    }
}
