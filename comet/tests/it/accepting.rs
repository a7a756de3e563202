//! Listeners outlive whatever happens to single sockets.

use std::time::Duration;

use halley_wire::CloseReason;
use tokio::net::TcpStream;

use crate::support::{Client, Node, eventually};

#[tokio::test]
async fn a_full_node_refuses_and_recovers() {
    let node = Node::start_with(|config| config.limits.connections_max = 2).await;
    let first = node.log_in("a", "").await;
    let _second = node.log_in("b", "").await;

    let mut refused = node.tcp().await;
    refused.closed().await;
    assert_eq!(node.metric("handshakes_total", &["refused_connections"]), 1);

    drop(first);
    node.connections(1).await;
    node.log_in("c", "").await;
}

#[tokio::test]
async fn handshakes_are_bounded() {
    let node = Node::start_with(|config| config.limits.handshakes_max = 1).await;
    let idle = node.tcp().await;
    eventually("one handshake", || node.metric("handshaking", &[]) == 1).await;

    let mut refused = node.tcp().await;
    refused.closed().await;

    drop(idle);
    eventually("no handshake", || node.metric("handshaking", &[]) == 0).await;
    node.log_in("a", "").await;
}

#[tokio::test]
async fn a_silent_client_is_closed_at_the_handshake_deadline() {
    let node = Node::start_with(|config| {
        config.handshake.timeout = Duration::from_millis(100);
    })
    .await;

    node.tcp().await.closed().await;
    let mut websocket = node.websocket().await;
    websocket.closed().await;
    let mut half = TcpClient::connect(&node).await;
    half.send_bytes(b"GET /sub HT").await;
    half.closed().await;

    eventually("three timeouts", || {
        node.metric("handshakes_total", &["\"timeout\""]) == 3
    })
    .await;
}

type TcpClient = Client;

impl TcpClient {
    async fn connect(node: &Node) -> Self {
        Client::tcp(node.addresses.websocket[0]).await
    }
}

#[tokio::test]
async fn thousands_that_vanish_leave_nothing_behind() {
    let node = Node::start().await;
    let mut witness = node.log_in("witness", "live://1").await;
    for _ in 0..10 {
        let mut sockets = Vec::new();
        for _ in 0..200 {
            sockets.push(
                TcpStream::connect(node.addresses.tcp[0])
                    .await
                    .expect("connected"),
            );
        }
        drop(sockets);
        assert_eq!(witness.online().await, 1);
    }

    eventually("no handshake is left", || {
        node.metric("handshaking", &[]) == 0
    })
    .await;
    assert_eq!(node.metric("connections", &[]), 1);
    assert_eq!(node.metric("accepted_total", &[]), 2001);
    let gone = CloseReason::PeerClosed.as_str();
    assert_eq!(node.metric("handshakes_total", &[gone]), 2000);
}
