//! Logging in, staying, and leaving.

use std::sync::Arc;
use std::time::Duration;

use halley_proto::halley::node::Grant;
use halley_wire::{AuthBody, Op};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Client, Closed, Node, eventually};

#[tokio::test]
async fn logic_is_told_who_asks() {
    let node = Node::start().await;
    node.log_in("dev-1", "live://1").await;

    let state = node.logic.state.lock();
    let connect = &state.connects[0];
    assert_eq!(
        (connect.server.as_str(), connect.cookie.as_str()),
        ("comet-1", "")
    );
    assert_eq!(
        AuthBody::parse(&connect.token).expect("the token").key,
        "dev-1"
    );
}

#[tokio::test]
async fn the_cookie_of_a_websocket_reaches_logic() {
    let node = Node::start().await;
    let stream = TcpStream::connect(node.addresses.websocket[0]).await;
    let stream = stream.expect("connected");
    let mut client = Client::upgraded_with(stream, "/sub", "Cookie: sid=1; b=2\r\n").await;
    client.log_in("dev-1", "").await;

    assert_eq!(node.logic.state.lock().connects[0].cookie, "sid=1; b=2");
}

#[tokio::test]
async fn a_refused_login_gets_no_reply() {
    let node = Node::start().await;
    let mut tcp = node.tcp().await;
    tcp.send(Op::AUTH, b"not json").await;
    assert!(tcp.next_or_closed().await.is_err());

    let mut websocket = node.websocket().await;
    websocket.send(Op::AUTH, b"not json").await;
    assert_eq!(websocket.closed().await, Closed(Some(4001)));
    assert_eq!(node.metric("handshakes_total", &["auth_failed"]), 2);
}

/// Asks logic for a login that it does not answer before the gate is opened.
async fn held_back(node: &Node, client: &mut Client) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    node.logic.state.lock().gate = Some(Arc::clone(&gate));
    let auth = AuthBody {
        key: "a".to_owned(),
        ..AuthBody::default()
    };
    client.send(Op::AUTH, auth.to_json().as_ref()).await;
    eventually("logic is asked", || node.logic.state.lock().connecting == 1).await;
    node.logic.state.lock().gate = None;
    gate
}

#[tokio::test]
async fn a_login_that_a_newer_one_overtakes_is_told_so() {
    let node = Node::start().await;
    let mut older = node.websocket().await;
    let gate = held_back(&node, &mut older).await;
    let mut newer = node.log_in("a", "live://1").await;

    gate.add_permits(1);

    assert_eq!(older.closed().await, Closed(Some(4004)));
    assert_eq!(newer.online().await, 1);
    node.push(&["a"], 1000, b"for the newer one").await;
    assert_eq!(newer.next().await.body, "for the newer one");
}

#[tokio::test]
async fn a_login_that_nobody_waits_for_any_more_binds_nothing_for_good() {
    let node = Node::start_with(|config| {
        config.handshake.timeout = Duration::from_millis(100);
    })
    .await;
    let mut client = node.tcp().await;
    let gate = held_back(&node, &mut client).await;
    client.closed().await;

    gate.add_permits(1);

    eventually("unbound", || node.logic.state.lock().disconnects.len() == 1).await;
    assert!(node.logic.state.lock().bound.is_empty());
}

#[tokio::test]
async fn a_hung_logic_costs_a_login_its_deadline_and_nobody_else() {
    let node = Node::start_with(|config| config.logic.deadline = Duration::from_millis(100)).await;
    let mut witness = node.log_in("witness", "live://1").await;
    node.logic.state.lock().is_hung = true;

    let mut client = node.tcp().await;
    client.send(Op::AUTH, b"{}").await;
    client.closed().await;
    // Not 4001: its token may be as good as ever.
    let mut client = node.websocket().await;
    client.send(Op::AUTH, b"{}").await;
    assert_eq!(client.closed().await, Closed(Some(1013)));
    assert_eq!(node.metric("handshakes_total", &["unavailable"]), 2);

    assert_eq!(witness.online().await, 1);
    node.push(&["witness"], 1000, b"still here").await;
    assert_eq!(witness.next().await.body, "still here");
}

#[tokio::test]
async fn a_reconnect_keeps_its_route() {
    let node = Node::start().await;
    for round in 0..100 {
        let mut old = node.log_in("dev-1", "live://1").await;
        let mut new = node.log_in("dev-1", "live://1").await;
        node.push(&["dev-1"], 1000, b"for the newer").await;

        assert_eq!(new.next().await.body, "for the newer", "round {round}");
        assert_eq!(old.closed().await, Closed(None));
        assert!(node.logic.state.lock().bound.contains_key("dev-1"));
        drop(new);
        eventually("the route ends with the newer", || {
            !node.logic.state.lock().bound.contains_key("dev-1")
        })
        .await;
    }
}

#[tokio::test]
async fn an_old_connection_that_does_not_read_delays_no_login() {
    let node = Node::start().await;
    let mut old = crate::support::Client::small(node.addresses.tcp[0]).await;
    old.log_in("dev-1", "live://1").await;
    let body = vec![0; 60_000];
    for _ in 0..200 {
        node.push(&["dev-1"], 1000, &body).await;
    }

    let mut new = node.log_in("dev-1", "live://1").await;

    node.push(&["dev-1"], 1000, b"new").await;
    assert_eq!(new.next().await.body, "new");
    assert_eq!(new.online().await, 1);
    node.connections(1).await;
}

#[tokio::test]
async fn a_client_that_vanishes_during_its_login_leaves_no_route() {
    let node = Node::start().await;
    for number in 0..50 {
        let mut client = node.tcp().await;
        let auth = AuthBody {
            key: format!("key-{number}"),
            ..AuthBody::default()
        };
        client.send(Op::AUTH, auth.to_json().as_ref()).await;
    }

    eventually("every login was seen", || {
        node.logic.state.lock().connects.len() == 50
    })
    .await;
    eventually("no route is left", || {
        node.logic.state.lock().bound.is_empty()
    })
    .await;
    node.connections(0).await;
}

#[tokio::test]
async fn only_heartbeats_keep_an_idle_connection() {
    let node = Node::start().await;
    node.logic.state.lock().heartbeat_ns = 1_500_000_000;
    let mut alive = node.log_in("alive", "").await;
    let mut busy = node.log_in("busy", "").await;
    let started = tokio::time::Instant::now();

    while started.elapsed() < Duration::from_secs(4) {
        alive.online().await;
        busy.send(Op::SUB, b"1").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    busy.closed().await;
    alive.online().await;
    assert_eq!(node.metric("closes_total", &["idle_timeout"]), 1);
}

#[tokio::test]
async fn an_expired_grant_closes_unless_refreshed() {
    let node = Node::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = i64::try_from(now.expect("after 1970").as_millis()).expect("before 2262");
    let grant = |ms| Grant {
        expires_ms: now_ms + ms,
        ..Grant::default()
    };
    node.logic.state.lock().grant = Some(grant(1500));
    let mut lapsing = node.websocket().await;
    lapsing.log_in("lapsing", "").await;
    let mut refreshing = node.log_in("refreshing", "").await;
    node.logic.state.lock().grant = Some(grant(3_600_000));

    let token = AuthBody {
        mid: 7,
        key: "refreshing".to_owned(),
        ..AuthBody::default()
    };
    let reply = refreshing.call(Op::AUTH, token.to_json().as_ref()).await;

    assert_eq!(reply.header.op, Op::AUTH_REPLY);
    assert_eq!(lapsing.closed().await, Closed(Some(4007)));
    refreshing.online().await;
}

#[tokio::test]
async fn a_refresh_for_somebody_else_closes() {
    let node = Node::start().await;
    node.logic.state.lock().grant = Some(Grant {
        expires_ms: i64::MAX,
        ..Grant::default()
    });
    let mut client = node.log_in("a", "").await;

    let mut other = node.log_in("b", "").await;

    client.send(Op::AUTH, br#"{"mid":8,"key":"a"}"#).await;
    other.send(Op::AUTH, br#"{"mid":7,"key":"a"}"#).await;

    client.closed().await;
    other.closed().await;
}

#[tokio::test]
async fn bindings_are_renewed_in_time() {
    let node =
        Node::start_with(|config| config.logic.renew_interval = Duration::from_secs(1)).await;
    let _client = node.log_in("a", "").await;

    eventually("two renewals", || {
        node.logic.state.lock().heartbeats.len() >= 2
    })
    .await;
}
