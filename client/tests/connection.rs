//! One link.
//!
//! Setup: a scripted server on loopback. Claim: packets come out one by one however they were cut, a receive that is
//! dropped loses nothing, and what is no packet ends the link with an error.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/server.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use halley_client::{ConnectError, Connection, ConnectionOptions, LinkError, Transport};
use halley_wire::{Header, Op, Packet};
use support::Server;

fn packet(op: i32, body: &'static str) -> Packet {
    let header = Header {
        ver: 1,
        op: Op(op),
        seq: 9,
    };
    Packet {
        header,
        body: Bytes::from_static(body.as_bytes()),
    }
}

#[tokio::test]
async fn echoes_through_both_halves() {
    for transport in [Transport::Tcp, Transport::Websocket] {
        let server = Server::start(transport).await;
        let options = ConnectionOptions::default();
        let endpoint = server.endpoint();
        let (mut peer, connection) =
            tokio::join!(server.accept(), Connection::connect(&endpoint, &options));
        let (mut reader, mut writer) = connection.unwrap().split();
        for sent in [packet(4, "hello"), packet(1000, "")] {
            writer.send(sent.clone()).await.unwrap();
            let seen = peer.recv().await.unwrap();
            assert_eq!(seen, sent);
            peer.send(seen).await;
            assert_eq!(reader.recv().await.unwrap(), sent);
        }
        writer.close().await.unwrap();
        peer.until_closed().await;
    }
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    let server = Server::start(Transport::Tcp).await;
    let options = ConnectionOptions::default();
    let endpoint = server.endpoint();
    let (mut peer, connection) =
        tokio::join!(server.accept(), Connection::connect(&endpoint, &options));
    let mut connection = connection.unwrap();
    let whole = support::encode(&packet(1000, "in many pieces"));
    for piece in whole.chunks(3) {
        peer.send_bytes(piece).await;
        // Dropped in the middle of a packet, again and again.
        if let Ok(received) =
            tokio::time::timeout(Duration::from_millis(5), connection.recv()).await
        {
            assert_eq!(received.unwrap().body, "in many pieces");
            return;
        }
    }
    assert_eq!(connection.recv().await.unwrap().body, "in many pieces");
}

#[tokio::test]
async fn what_is_no_packet_ends_the_link() {
    for (bytes, transport) in [
        (
            &b"\0\0\0\x05\0\x10\0\x01\0\0\0\0\0\0\0\0"[..],
            Transport::Tcp,
        ),
        (
            b"\x7f\xff\xff\xff\0\x10\0\x01\0\0\0\0\0\0\0\0",
            Transport::Tcp,
        ),
        (
            b"\0\0\0\x20\0\x10\0\x01\0\0\0\x09\0\0\0\0",
            Transport::Websocket,
        ),
        (b"short", Transport::Websocket),
    ] {
        let server = Server::start(transport).await;
        let options = ConnectionOptions::default();
        let endpoint = server.endpoint();
        let (mut peer, connection) =
            tokio::join!(server.accept(), Connection::connect(&endpoint, &options));
        peer.send_bytes(bytes).await;
        let error = connection.unwrap().recv().await.unwrap_err();
        assert!(matches!(error, LinkError::Packet(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_batch_that_ends_within_a_packet_ends_the_link() {
    let server = Server::start(Transport::Websocket).await;
    let options = ConnectionOptions::default();
    let endpoint = server.endpoint();
    let (mut peer, connection) =
        tokio::join!(server.accept(), Connection::connect(&endpoint, &options));
    let mut connection = connection.unwrap();
    let mut batch = support::encode(&packet(1000, "whole"));
    batch.extend_from_slice(&support::encode(&packet(1000, "torn"))[..18]);
    let header = Header {
        op: Op::RAW,
        ..packet(9, "").header
    };
    peer.send(Packet {
        header,
        body: batch.into(),
    })
    .await;
    assert_eq!(connection.recv().await.unwrap().body, "whole");
    assert!(matches!(connection.recv().await, Err(LinkError::Packet(_))));
}

#[tokio::test]
async fn connecting_has_a_deadline_and_says_who_refused() {
    let server = Server::start(Transport::Websocket).await;
    let options = ConnectionOptions {
        connect_timeout: Duration::from_millis(50),
        ..ConnectionOptions::default()
    };
    // The server accepts the socket and never answers the handshake.
    let silent = Connection::connect(&server.endpoint(), &options).await;
    assert!(matches!(silent, Err(ConnectError::TimedOut)), "{silent:?}");
    let endpoint = server.endpoint();
    drop(server);
    let refused = Connection::connect(&endpoint, &ConnectionOptions::default()).await;
    assert!(matches!(refused, Err(ConnectError::Io(_))), "{refused:?}");
}
