//! Whatever a client sends, it harms only its own connection.

use std::time::Duration;

use halley_wire::{CloseReason, Op, ws};

use crate::support::{Closed, Node, eventually, raw_proto};

fn packet(packet_len: i32, header_len: i16, op: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = packet_len.to_be_bytes().to_vec();
    bytes.extend(header_len.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(op.to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend(body);
    bytes
}

#[tokio::test]
async fn malformed_packets_close_their_connection_alone() {
    let node = Node::start().await;
    let mut witness = node.log_in("witness", "live://1").await;
    let cases = [
        (packet(0, 16, 2, b""), CloseReason::Malformed),
        (packet(15, 16, 2, b""), CloseReason::Malformed),
        (packet(-1, 16, 2, b""), CloseReason::Malformed),
        (packet(i32::MIN, 16, 2, b""), CloseReason::Malformed),
        (packet(16, 17, 2, b""), CloseReason::Malformed),
        (packet(16, -16, 2, b""), CloseReason::Malformed),
        (packet(4113, 16, 2, b""), CloseReason::TooLarge),
        (packet(i32::MAX, 16, 2, b""), CloseReason::TooLarge),
    ];
    for (number, (bytes, reason)) in cases.into_iter().enumerate() {
        let key = format!("key-{number}");
        let closed_before = node.metric("closes_total", &[reason.as_str()]);
        let mut client = node.log_in(&key, "live://1").await;

        client.send_bytes(&bytes).await;

        assert_eq!(client.closed().await, Closed(None), "case {number}");
        eventually("the close is counted", || {
            node.metric("closes_total", &[reason.as_str()]) == closed_before + 1
        })
        .await;
        eventually("the room knows", || node.metric("connections", &[]) == 1).await;
    }
    assert_eq!(witness.online().await, 1);
}

#[tokio::test]
async fn a_packet_longer_than_its_websocket_message_closes() {
    let node = Node::start().await;
    let cases = [
        (packet(100, 16, 2, b"short"), 1007),
        (packet(0, 16, 2, b""), 1007),
        (packet(-1, 16, 2, b""), 1007),
        (packet(16, 16, 2, b"")[..15].to_vec(), 1007),
        (packet(4113, 16, 2, b""), 1009),
    ];
    for (number, (bytes, code)) in cases.into_iter().enumerate() {
        let mut client = node.websocket().await;
        client.log_in(&format!("key-{number}"), "").await;
        let mut frame = Vec::new();
        ws::encode_masked(&mut frame, ws::Opcode::Binary, &bytes, [9, 8, 7, 6]);

        client.send_bytes(&frame).await;

        assert_eq!(client.closed().await, Closed(Some(code)), "case {number}");
    }
}

#[tokio::test]
async fn only_a_few_packets_are_ignored_before_the_login() {
    let node = Node::start_with(|config| config.limits.packets_before_auth_max = 3).await;
    let mut patient = node.tcp().await;
    for _ in 0..3 {
        patient.send(Op::HEARTBEAT, b"").await;
    }
    patient.log_in("a", "").await;

    let mut noisy = node.tcp().await;
    for _ in 0..4 {
        noisy.send(Op::HEARTBEAT, b"").await;
    }
    noisy.closed().await;
    assert_eq!(
        node.metric("handshakes_total", &["too_many_before_auth"]),
        1
    );
}

#[tokio::test]
async fn a_login_in_many_fragments_is_one_packet() {
    let node = Node::start_with(|config| config.limits.packets_before_auth_max = 3).await;
    let mut client = node.websocket().await;
    let login = packet(18, 16, 7, b"{}");
    let (last, first) = login.split_last().expect("bytes");

    for (at, byte) in first.iter().enumerate() {
        client
            .send_bytes(&[if at == 0 { 0x02 } else { 0x00 }, 1, *byte])
            .await;
    }
    client.send_bytes(&[0x80, 1, *last]).await;

    assert_eq!(client.next().await.header.op, Op::AUTH_REPLY);
}

#[tokio::test]
async fn pings_and_pongs_before_the_login_are_bounded_as_packets_are() {
    let node = Node::start_with(|config| config.limits.packets_before_auth_max = 3).await;
    for opcode in [ws::Opcode::Ping, ws::Opcode::Pong] {
        let mut noisy = node.websocket().await;
        let mut frame = Vec::new();
        ws::encode_masked(&mut frame, opcode, b"", [1, 2, 3, 4]);

        noisy.send_bytes(&frame.repeat(4)).await;

        assert_eq!(noisy.closed().await, Closed(Some(4002)));
    }
}

#[tokio::test]
async fn an_endless_upgrade_request_is_refused() {
    let node = Node::start().await;
    let mut client = crate::support::Client::tcp(node.addresses.websocket[0]).await;

    client.send_bytes(b"GET /sub HTTP/1.1\r\nX: ").await;
    client.send_bytes(&vec![b'a'; 16 << 10]).await;

    eventually("refused", || {
        node.metric("handshakes_total", &["not_upgraded"]) == 1
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_a_byte_at_a_time_is_served() {
    let node = Node::start().await;
    let mut client = node.log_in("slow", "live://1").await;

    for byte in packet(16, 16, 2, b"") {
        client.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }

    assert_eq!(client.next().await.header.op, Op::HEARTBEAT_REPLY);
}

#[tokio::test]
async fn a_malformed_batch_from_job_is_refused_and_counted() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "live://1").await;
    let good = raw_proto(&[(1000, b"good")]);
    let empty = raw_proto(&[]);
    let mut cut = good.clone();
    cut.body = good.body.slice(..good.body.len() - 1);
    for proto in [cut, empty] {
        let request = halley_proto::goim::comet::BroadcastRoomReq {
            room_id: "live://1".to_owned(),
            proto: Some(proto),
        };

        let refused = node
            .service
            .broadcast_room(tonic::Request::new(request))
            .await;

        assert_eq!(
            refused.expect_err("malformed").code(),
            tonic::Code::InvalidArgument
        );
    }
    assert_eq!(node.settled().await, (2, 0, 0, 2));
    assert_eq!(client.online().await, 1);
}

#[tokio::test]
async fn a_call_without_what_it_needs_fails_as_goims_does() {
    use halley_proto::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq};
    use tonic::Request;
    let node = Node::start().await;
    let proto = Some(raw_proto(&[(1000, b"x")]));

    let no_keys = PushMsgReq {
        proto: proto.clone(),
        ..PushMsgReq::default()
    };
    let no_message = PushMsgReq {
        keys: vec!["a".to_owned()],
        ..PushMsgReq::default()
    };
    let no_room = BroadcastRoomReq {
        proto,
        ..BroadcastRoomReq::default()
    };
    let service = &node.service;
    let refused = [
        service.push_msg(Request::new(no_keys)).await.err(),
        service.push_msg(Request::new(no_message)).await.err(),
        service
            .broadcast(Request::new(BroadcastReq::default()))
            .await
            .err(),
        service.broadcast_room(Request::new(no_room)).await.err(),
    ];

    let texts = [
        "rpc pushmsg arg error",
        "rpc pushmsg arg error",
        "rpc broadcast arg error",
        "rpc broadcast  room arg error",
    ];
    for (status, text) in refused.into_iter().zip(texts) {
        let status = status.expect("a refusal");
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Unknown, text)
        );
    }
    assert_eq!(node.settled().await, (0, 0, 0, 0));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let node = Node::start().await;
    for is_websocket in [false, true] {
        let mut client = if is_websocket {
            node.websocket().await
        } else {
            node.tcp().await
        };
        client.log_in("a", "live://1").await;
        let ops = [Op::HEARTBEAT, Op::SEND, Op::SUB, Op::CHANGE_ROOM];
        for number in 0..400 {
            client.send(ops[number % ops.len()], b"5").await;
        }
        let mut last = None;
        for _ in 0..400 {
            let seq = client.next().await.header.seq;
            assert!(
                last.is_none_or(|last| seq == last + 1),
                "{seq} after {last:?}"
            );
            last = Some(seq);
        }
    }
    assert_eq!(node.logic.state.lock().received.len(), 200);
}

#[tokio::test]
async fn a_flood_of_unknown_operations_waits_for_logic() {
    let node = Node::start_with(|config| config.logic.deadline = Duration::from_millis(200)).await;
    let mut flooder = node.log_in("flooder", "").await;
    let mut witness = node.log_in("witness", "live://1").await;
    node.logic.state.lock().is_hung = true;

    for _ in 0..1000 {
        flooder.send(Op(4321), b"x").await;
    }

    assert_eq!(witness.online().await, 1);
    assert_eq!(flooder.next().await.header.op, Op(4321));
    assert!(node.metric("logic_calls_total", &["deadline", "receive"]) < 10);
}
