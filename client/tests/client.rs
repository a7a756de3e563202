//! A client that stays online.
//!
//! Setup: a scripted server on loopback plays one connection after another. Claim: the client logs in, keeps the
//! link alive, restores room and subscriptions after every loss, obeys a goodbye, and never holds more events than
//! its queue.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/server.rs"]
mod support;

use std::time::Duration;

use halley_client::{
    Backoff, Client, Disconnect, Event, Events, Options, RequestError, Servers, Transport,
};
use halley_wire::{AuthBody, Op};
use support::{Peer, Server, reply};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn options(server: &Server) -> Options {
    let auth = AuthBody {
        mid: 7,
        key: "seven".to_owned(),
        room_id: "live://1".to_owned(),
        accepts: vec![1000],
        ..AuthBody::default()
    };
    let mut options = Options::new(Servers::Fixed(vec![server.endpoint()]), auth);
    options.backoff = Some(Backoff {
        max_delay: 0.01,
        base_delay: 0.01,
        ..Backoff::default()
    });
    options
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

async fn disconnected(events: &mut Events) -> Disconnect {
    loop {
        if let Event::Disconnected { reason, .. } = next(events).await {
            return reason;
        }
    }
}

/// Accepts a connection and its login; answers the heartbeat that follows.
async fn logged_in(server: &Server) -> (Peer, AuthBody) {
    let mut peer = timeout(PATIENCE, server.accept()).await.unwrap();
    let login = peer.recv().await.unwrap();
    assert_eq!(login.header.op, Op::AUTH);
    let auth = AuthBody::parse(&login.body).unwrap();
    peer.send(reply(&login, Op::AUTH_REPLY, b"")).await;
    let heartbeat = peer.recv().await.unwrap();
    assert_eq!(heartbeat.header.op, Op::HEARTBEAT);
    peer.send(reply(&heartbeat, Op::HEARTBEAT_REPLY, &3_i32.to_be_bytes()))
        .await;
    (peer, auth)
}

#[tokio::test]
async fn logs_in_receives_and_asks_over_every_transport() {
    for transport in [
        Transport::Tcp,
        Transport::Websocket,
        Transport::TlsTcp,
        Transport::TlsWebsocket,
    ] {
        let server = Server::start(transport).await;
        let mut options = options(&server);
        options.connection.tls = server.tls_options();
        let (client, mut events) = Client::start(options);
        let (mut peer, auth) = logged_in(&server).await;
        assert_eq!(
            (auth.mid, auth.key.as_str(), auth.accepts.as_slice()),
            (7, "seven", &[1000][..])
        );
        assert!(matches!(next(&mut events).await, Event::Connected { .. }));
        assert!(matches!(next(&mut events).await, Event::Online(3)));

        peer.push(&[(1000, b"one"), (1001, b""), (1002, b"three")])
            .await;
        for expected in [
            (Op(1000), &b"one"[..]),
            (Op(1001), b""),
            (Op(1002), b"three"),
        ] {
            let Event::Message { op, body } = next(&mut events).await else {
                panic!("no message")
            };
            assert_eq!((op, &body[..]), expected);
        }

        let asked = client.clone();
        let script = async {
            let change = peer.recv().await.unwrap();
            assert_eq!(
                (change.header.op, &change.body[..]),
                (Op::CHANGE_ROOM, &b"live://2"[..])
            );
            peer.send(reply(&change, Op::CHANGE_ROOM_REPLY, &change.body))
                .await;
            let sub = peer.recv().await.unwrap();
            assert_eq!((sub.header.op, &sub.body[..]), (Op::SUB, &b"1001,1002"[..]));
            peer.send(reply(&sub, Op::SUB_REPLY, &sub.body)).await;
            let sent = peer.recv().await.unwrap();
            assert_eq!((sent.header.op, &sent.body[..]), (Op::SEND, &b"hello"[..]));
            peer.send(reply(&sent, Op::SEND, b"")).await;
        };
        let requests = async {
            asked.change_room("live://2").await.unwrap();
            asked.subscribe([1001, 1002]).await.unwrap();
            asked.send(Op::SEND, "hello").await.unwrap();
        };
        timeout(PATIENCE, async { tokio::join!(script, requests) })
            .await
            .unwrap();

        let closing = async {
            client.close().await;
        };
        timeout(PATIENCE, async {
            tokio::join!(closing, peer.until_closed())
        })
        .await
        .unwrap();
        assert_eq!(disconnected(&mut events).await, Disconnect::Closed);
        assert!(events.recv().await.is_none());
    }
}

#[tokio::test]
async fn comes_back_with_its_room_and_subscriptions() {
    let server = Server::start(Transport::Tcp).await;
    let (client, mut events) = Client::start(options(&server));
    let (mut peer, _) = logged_in(&server).await;
    let script = async {
        for _ in 0..2 {
            let request = peer.recv().await.unwrap();
            let op = Op(request.header.op.0 + 1);
            peer.send(reply(&request, op, &request.body)).await;
        }
    };
    let requests = async {
        client.change_room("live://2").await.unwrap();
        client.unsubscribe([1000]).await.unwrap();
    };
    tokio::join!(script, requests);

    drop(peer);
    let lost = Disconnect::ByServer {
        code: None,
        reason: String::new(),
    };
    assert_eq!(disconnected(&mut events).await, lost);
    let (_peer, auth) = logged_in(&server).await;
    assert_eq!(
        (auth.room_id.as_str(), auth.accepts.as_slice()),
        ("live://2", &[][..])
    );
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
}

#[tokio::test]
async fn what_is_asked_while_a_login_is_under_way_is_said_after_it() {
    let server = Server::start(Transport::Tcp).await;
    let (client, mut events) = Client::start(options(&server));
    let mut peer = timeout(PATIENCE, server.accept()).await.unwrap();
    let login = peer.recv().await.unwrap();
    let auth = AuthBody::parse(&login.body).unwrap();
    assert_eq!(auth.room_id, "live://1");
    client.refresh_token("new").await.unwrap();
    client.change_room("live://2").await.unwrap();
    client.subscribe([1001, 1002]).await.unwrap();
    client.unsubscribe([1000, 1002]).await.unwrap();
    peer.send(reply(&login, Op::AUTH_REPLY, b"")).await;
    let token = peer.recv().await.unwrap();
    assert_eq!(token.header.op, Op::AUTH);
    let auth = AuthBody::parse(&token.body).unwrap();
    assert_eq!(auth.token.as_deref(), Some("new"));
    peer.send(reply(&token, Op::AUTH_REPLY, b"")).await;
    for (op, body) in [
        (Op::CHANGE_ROOM, &b"live://2"[..]),
        (Op::SUB, b"1001"),
        (Op::UNSUB, b"1000"),
    ] {
        let said = peer.recv().await.unwrap();
        assert_eq!((said.header.op, &said.body[..]), (op, body));
        peer.send(reply(&said, Op(op.0 + 1), &said.body)).await;
    }
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    // The answers were nobody's.
    peer.push(&[(1001, b"hello")]).await;
    let Event::Message { op, .. } = next(&mut events).await else {
        panic!("no message")
    };
    assert_eq!(op, Op(1001));
}

#[tokio::test]
async fn requests_without_an_answer_fail() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.request_timeout = Duration::from_millis(50);
    let (client, mut events) = Client::start(options);
    let (peer, _) = logged_in(&server).await;
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    assert_eq!(
        client.send(Op::SEND, "?").await,
        Err(RequestError::TimedOut)
    );
    drop(peer);
    drop(server);
    disconnected(&mut events).await;
    assert_eq!(
        client.send(Op::SEND, "?").await,
        Err(RequestError::NotConnected)
    );
    assert_eq!(client.change_room("live://9").await, Ok(()));
    client.close().await;
    assert_eq!(client.send(Op::SEND, "?").await, Err(RequestError::Closed));
}

#[tokio::test]
async fn gives_up_a_link_whose_heartbeats_are_not_answered() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.heartbeat = Some(Duration::from_millis(20));
    options.heartbeat_timeout = Duration::from_millis(60);
    let (_client, mut events) = Client::start(options);
    let (_silent, _) = logged_in(&server).await;
    assert_eq!(disconnected(&mut events).await, Disconnect::HeartbeatLost);
    let (_again, _) = logged_in(&server).await;
}

#[tokio::test]
async fn a_refused_login_is_told_and_tried_again_up_to_the_limit() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.attempts_max = Some(3);
    let (_client, mut events) = Client::start(options);
    for attempt in 1..=3 {
        let mut peer = server.accept().await;
        peer.recv().await.unwrap();
        drop(peer);
        let Event::Disconnected { reason, retry_in } = next(&mut events).await else {
            panic!("not refused")
        };
        assert!(
            matches!(reason, Disconnect::LoginRefused { .. }),
            "{reason}"
        );
        assert_eq!(retry_in.is_none(), attempt == 3);
    }
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn a_login_starts_the_count_of_attempts_over() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.attempts_max = Some(2);
    let (_client, _events) = Client::start(options);
    for _ in 0..3 {
        let mut refused = timeout(PATIENCE, server.accept()).await.unwrap();
        refused.recv().await.unwrap();
        drop(refused);
        let (lost, _) = logged_in(&server).await;
        drop(lost);
    }
    // Who gave up would not come again.
    let (_peer, _) = logged_in(&server).await;
}

#[tokio::test]
async fn a_login_without_an_answer_times_out() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.auth_timeout = Duration::from_millis(30);
    let (_client, mut events) = Client::start(options);
    let _mute = server.accept().await;
    assert_eq!(disconnected(&mut events).await, Disconnect::LoginTimedOut);
}

#[tokio::test]
async fn a_goodbye_moves_the_client_to_another_server() {
    for (transport, goodbye) in [(Transport::Tcp, true), (Transport::Websocket, false)] {
        let (leaving, staying) = (
            Server::start(transport).await,
            Server::start(transport).await,
        );
        let mut options = options(&leaving);
        options.servers = Servers::Fixed(vec![leaving.endpoint(), staying.endpoint()]);
        let (_client, mut events) = Client::start(options);
        let first = tokio::select! {
            (peer, _) = logged_in(&leaving) => (peer, &staying),
            (peer, _) = logged_in(&staying) => (peer, &leaving),
        };
        let (mut peer, other) = first;
        if goodbye {
            peer.goodbye(br#"{"reason":"upgrade","reconnect_ms":[5,20]}"#)
                .await;
        } else {
            peer.close(1012, "upgrade").await;
        }
        let reason = "upgrade".to_owned();
        assert_eq!(
            disconnected(&mut events).await,
            Disconnect::Goodbye { reason }
        );
        let (_peer, auth) = logged_in(other).await;
        assert_eq!(auth.key, "seven");
    }
}

#[tokio::test]
async fn a_replaced_client_stays_away() {
    let server = Server::start(Transport::Websocket).await;
    let (_client, mut events) = Client::start(options(&server));
    let (mut peer, _) = logged_in(&server).await;
    peer.close(4004, "replaced").await;
    assert_eq!(disconnected(&mut events).await, Disconnect::Replaced);
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn stops_reading_when_nobody_takes_events() {
    let server = Server::start(Transport::Tcp).await;
    let mut options = options(&server);
    options.events_max = 4;
    let (_client, mut events) = Client::start(options);
    let (mut peer, _) = logged_in(&server).await;
    // Far more than the kernel buffers: the server's writes must come to a halt.
    let body = vec![b'x'; 60_000];
    let mut pushed = 0;
    while timeout(Duration::from_millis(300), peer.push(&[(1000, &body)]))
        .await
        .is_ok()
    {
        pushed += 1;
        assert!(pushed < 10_000, "the client reads without bound");
    }
    let mut received = 0;
    while received < pushed {
        if let Event::Message { .. } = next(&mut events).await {
            received += 1;
        }
    }
}

#[tokio::test]
async fn finds_its_server_in_logics_node_list() {
    let server = Server::start(Transport::Tcp).await;
    let port = server.endpoint().port();
    let list = format!(
        r#"{{"code":0,"message":"","data":{{"domain":"x","tcp_port":{port},"heartbeat":240,"nodes":["127.0.0.1"]}}}}"#
    );
    let (base_url, asked) = support::answer_once(list).await;
    let mut options = options(&server);
    options.servers = Servers::Nodes {
        base_url,
        transport: Transport::Tcp,
        platform: "linux x".to_owned(),
    };
    let (_client, mut events) = Client::start(options);
    let (_peer, _) = logged_in(&server).await;
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
    assert!(
        asked
            .await
            .unwrap()
            .starts_with("GET /goim/nodes/weighted?platform=linux+x HTTP/1.1")
    );
}
