//! Draining: clients are told, bindings end, and the count is right.

use std::sync::Arc;
use std::time::Duration;

use halley_wire::{AuthBody, Op};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::job::{TestJob, to_key};
use crate::support::{Closed, Node, eventually, soon};

#[tokio::test]
async fn clients_are_told_and_their_routes_end() {
    let node = Node::start().await;
    let mut tcp = node.log_in("tcp", "live://1").await;
    let mut websocket = node.websocket().await;
    websocket.log_in("websocket", "live://1").await;
    let mut handshaking = node.tcp().await;
    node.push_room("live://1", &[(1000, b"before")]).await;

    node.drain.cancel();

    assert_eq!(tcp.next().await.body, "before");
    let goodbye = tcp.next().await;
    assert_eq!(goodbye.header.op, Op::DISCONNECT_REPLY);
    let text = std::str::from_utf8(&goodbye.body).expect("text");
    assert_eq!(text, r#"{"reason":"draining","reconnect_ms":[1000,10000]}"#);
    assert_eq!(tcp.closed().await, Closed(None));
    assert_eq!(websocket.closed().await, Closed(Some(1012)));
    handshaking.closed().await;
    let outcome = soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (2, 0));
    assert!(node.logic.state.lock().bound.is_empty());
    let status = node.logic.state.lock().status.clone().expect("a status");
    assert!(status.draining && status.conn_count == 0);
    assert!(TcpStream::connect(node.addresses.tcp[0]).await.is_err());
}

#[tokio::test]
async fn a_login_that_ends_while_clients_are_sent_away_holds_nothing_up() {
    const CLIENTS: usize = 40;
    let node = Node::start().await;
    let gate = Arc::new(Semaphore::new(0));
    node.logic.state.lock().gate = Some(Arc::clone(&gate));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = node.tcp().await;
        let key = format!("key-{number}");
        let auth = AuthBody {
            key,
            ..AuthBody::default()
        };
        client.send(Op::AUTH, auth.to_json().as_ref()).await;
        clients.push(client);
    }
    eventually("logic is asked for all", || {
        node.metric("handshaking", &[]) == CLIENTS as u64
    })
    .await;
    drop(node.status);

    // At the same moment: some log in before, and some after everybody was told to go.
    node.drain.cancel();
    gate.add_permits(CLIENTS);

    let outcome = soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
    assert_eq!(outcome.forced, 0);
    assert!(node.logic.state.lock().bound.is_empty());
}

#[tokio::test]
async fn a_hung_logic_does_not_hold_up_a_second_signal() {
    let node = Node::start().await;
    let _client = node.log_in("a", "").await;
    node.now.cancel();

    soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn many_clients_are_sent_away_in_batches() {
    let node = Node::start_with(|config| config.drain.connections_per_second = 200).await;
    let _clients = node.crowd(60, "").await;
    let started = tokio::time::Instant::now();

    node.drain.cancel();

    let outcome = soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (60, 0));
    assert!(started.elapsed().as_millis() >= 200, "all at once");
}

#[tokio::test]
async fn a_client_that_lags_gets_everything_before_it_is_sent_away() {
    let node = Node::start_with(|config| config.socket.send_buffer_bytes = 4096).await;
    let mut slow = crate::support::Client::small(node.addresses.tcp[0]).await;
    slow.log_in("slow", "live://1").await;
    let message = vec![b'x'; 3_000];
    for _ in 0..50 {
        node.push_room("live://1", &[(1000, &message)]).await;
    }

    node.drain.cancel();

    let mut messages = 0;
    loop {
        // Left unread, it would have the socket forget what has not arrived.
        slow.send(Op::HEARTBEAT, b"").await;
        let packet = slow.next().await;
        match packet.header.op {
            Op::HEARTBEAT_REPLY => {}
            Op::DISCONNECT_REPLY => break,
            _ => messages += usize::from(packet.body.len() == message.len()),
        }
    }
    assert_eq!(messages, 50);
    let outcome = soon("the node ends", node.done).await;
    let outcome = outcome.expect("no panic").expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (1, 0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_the_drain_up() {
    let unsent_wait = Duration::from_millis(200);
    let node = Node::start_with(|config| {
        config.socket.send_buffer_bytes = 4096;
        config.drain.unsent_wait = unsent_wait;
    })
    .await;
    let mut stuck = crate::support::Client::small(node.addresses.tcp[0]).await;
    stuck.log_in("stuck", "live://1").await;
    let message = vec![b'x'; 10_000];
    for _ in 0..50 {
        node.push_room("live://1", &[(1000, &message)]).await;
    }

    node.drain.cancel();

    let outcome = soon("the node ends", node.done).await;
    let outcome = outcome.expect("no panic").expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (1, 0));
    assert!(node.logic.state.lock().bound.is_empty());
}

#[tokio::test]
async fn what_a_replaced_client_sent_last_still_gets_to_logic() {
    let node = Node::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let mut client = node.log_in("a", "").await;
    node.logic.state.lock().receive_gate = Some(Arc::clone(&gate));
    client.send(Op(4), b"last words").await;
    eventually("logic is asked", || node.logic.state.lock().receiving == 1).await;

    let mut again = node.log_in("a", "").await;
    client.closed().await;
    gate.add_permits(1);

    eventually("logic has it", || {
        node.logic.state.lock().received.len() == 1
    })
    .await;
    eventually("it is counted", || {
        node.metric("logic_calls_total", &["receive", "ok"]) == 1
    })
    .await;
    assert_eq!(again.online().await, 0);
}

#[tokio::test]
async fn the_status_follows_the_node() {
    let mut node = Node::start().await;
    let started = node.status.borrow().clone();
    assert!(started.started_ms > 1_700_000_000_000);
    assert_eq!(started.hostname, "comet-1");
    let grpc = node.addresses.grpc.expect("gRPC is served");
    assert_eq!(started.grpc, format!("grpc://{grpc}"));

    let _client = node.log_in("a", "").await;

    let connected = node.status.wait_for(|status| status.conn_count == 1);
    let connected = soon("the connection is counted", connected).await;
    assert!(!connected.expect("the node lives").draining);
}

#[tokio::test]
async fn a_node_that_goes_says_so_and_still_lets_clients_in_for_a_while() {
    let mut node = Node::start_with(|config| {
        config.drain.notice = Duration::from_hours(1);
        config.logic.online_interval = Duration::from_hours(1);
    })
    .await;
    let mut early = node.log_in("a", "").await;

    node.drain.cancel();

    let draining = node.status.wait_for(|status| status.draining);
    soon("it says so", draining).await.expect("the node lives");
    eventually("logic is told", || {
        let state = node.logic.state.lock();
        state.status.as_ref().is_some_and(|status| status.draining)
    })
    .await;
    let mut late = node.log_in("b", "").await;
    assert_eq!(early.online().await, 0);
    assert_eq!(late.online().await, 0);

    node.now.cancel();
    soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn nobody_who_is_told_is_waited_for() {
    let node = Node::start_with(|config| {
        config.drain.notice = Duration::from_hours(1);
    })
    .await;
    drop(node.status);

    node.drain.cancel();

    soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn a_job_that_hangs_does_not_hold_up_the_end() {
    let node = Node::start().await;
    let grpc = node.addresses.grpc.expect("gRPC is served");
    let job = TestJob::open(grpc, "job-1").await;
    for id in 1..100 {
        job.push(vec![to_key(id, "a", b"x")]).await;
    }

    node.drain.cancel();

    soon("the node ends", node.done)
        .await
        .expect("no panic")
        .expect("no error");
    drop(job);
}
