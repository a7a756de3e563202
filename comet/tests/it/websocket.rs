//! What is WebSocket's own.

use halley_wire::{Header, Op, packet, ws};

use crate::support::{Client, Closed, Node, PONG};

#[tokio::test]
async fn a_ping_is_answered_at_once() {
    let node = Node::start().await;
    let mut client = node.websocket().await;
    let mut ping = Vec::new();
    ws::encode_masked(&mut ping, ws::Opcode::Ping, b"before login", [1, 2, 3, 4]);
    client.send_bytes(&ping).await;
    assert_eq!(client.next().await.header.op, PONG);

    client.log_in("a", "").await;
    client.send_bytes(&ping).await;
    assert_eq!(client.next().await.header.op, PONG);
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    let node = Node::start().await;
    for (payload, code) in [(&b"\x03\xe8bye"[..], Some(1000)), (b"", None)] {
        let mut client = node.websocket().await;
        client.log_in("a", "").await;
        let mut close = Vec::new();
        ws::encode_masked(&mut close, ws::Opcode::Close, payload, [1, 2, 3, 4]);

        client.send_bytes(&close).await;

        assert_eq!(client.closed().await, Closed(code));
    }
}

#[tokio::test]
async fn a_replaced_client_is_told_why() {
    let node = Node::start().await;
    let mut old = node.websocket().await;
    old.log_in("a", "").await;
    let mut new = node.websocket().await;
    new.log_in("a", "").await;

    assert_eq!(old.closed().await, Closed(Some(4004)));
}

#[tokio::test]
async fn text_and_unmasked_frames_and_fragments_are_packets_too() {
    let node = Node::start().await;
    let mut client = node.websocket().await;
    client.log_in("a", "").await;
    let header = Header {
        ver: 1,
        op: Op::HEARTBEAT,
        seq: 77,
    };
    let mut heartbeat = Vec::new();
    packet::encode(&mut heartbeat, header, b"ignored body");

    let mut text = Vec::new();
    ws::encode_masked(&mut text, ws::Opcode::Text, &heartbeat, [1, 2, 3, 4]);
    client.send_bytes(&text).await;
    assert_eq!(client.next().await.header.seq, 77);

    let mut unmasked = Vec::new();
    ws::encode_header(&mut unmasked, ws::Opcode::Binary, heartbeat.len());
    unmasked.extend(&heartbeat);
    client.send_bytes(&unmasked).await;
    assert_eq!(client.next().await.header.seq, 77);

    let (first, second) = heartbeat.split_at(10);
    let mut fragments = vec![0x02, 10];
    fragments.extend(first);
    fragments.extend([0x89, 0]);
    fragments.extend([0x80, u8::try_from(second.len()).expect("short")]);
    fragments.extend(second);
    client.send_bytes(&fragments).await;
    assert_eq!(client.next().await.header.op, PONG);
    assert_eq!(client.next().await.header.seq, 77);
}

#[tokio::test]
async fn a_raw_operation_of_a_client_is_echoed_on_websocket_only() {
    let node = Node::start().await;
    let mut websocket = node.websocket().await;
    websocket.log_in("a", "").await;
    let echo = websocket.call(Op::RAW, b"x").await;
    assert_eq!((echo.header.op, echo.body.len()), (Op::RAW, 0));

    let mut tcp = node.log_in("b", "").await;
    tcp.send(Op::RAW, b"x").await;
    let next = tcp.call(Op::SEND, b"y").await;
    assert_eq!(next.header.op, Op::SEND);
    assert_eq!(node.logic.state.lock().received.len(), 3);
}

#[tokio::test]
async fn only_the_path_is_upgraded() {
    let node = Node::start().await;
    let mut client = Client::tcp(node.addresses.websocket[0]).await;
    client.send_bytes(b"GET /sub?x=1 HTTP/1.1\r\n\r\n").await;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client.stream, &mut answer)
        .await
        .expect("text");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
