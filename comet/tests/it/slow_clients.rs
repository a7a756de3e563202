//! Clients that do not read: they delay nobody, and what they miss is counted.

use std::sync::Arc;
use std::time::Duration;

use halley_comet::{Config, SlowConsumer};
use halley_wire::{HEADER_BYTES, Op};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval};

use crate::support::{Client, Node, eventually};

fn tight(config: &mut Config) {
    config.socket.send_buffer_bytes = 4096;
    config.delivery.ring_bytes_max = 64 << 10;
    config.delivery.outbox_bytes_max = 64 << 10;
}

async fn stuck(node: &Node, key: &str, room: &str) -> Client {
    let mut client = Client::small(node.addresses.tcp[0]).await;
    client.log_in(key, room).await;
    client
}

#[tokio::test]
async fn a_room_member_that_lags_skips_and_is_counted() {
    let node = Node::start_with(tight).await;
    let mut slow = stuck(&node, "slow", "live://1").await;
    let mut quick = node.log_in("quick", "live://1").await;
    let mut message = vec![b'x'; 10_000];

    for number in 0..300u32 {
        message[..4].copy_from_slice(&number.to_be_bytes());
        node.push_room("live://1", &[(1000, &message)]).await;
        assert_eq!(quick.next().await.body[..4], number.to_be_bytes());
    }

    node.push(&["slow"], 1000, b"end").await;
    let mut last = None;
    loop {
        let packet = slow.next().await;
        if packet.body == "end" {
            break;
        }
        let number = u32::from_be_bytes(packet.body[..4].try_into().expect("four bytes"));
        assert!(
            last.is_none_or(|last| number > last),
            "{number} after {last:?}"
        );
        last = Some(number);
    }
    assert!(node.metric("push_outcomes_total", &["slow_consumer"]) > 0);
    drop(slow);
    let (pushes, delivered, _, dropped) = node.settled().await;
    assert_eq!(pushes, 601);
    assert_eq!(delivered + dropped, 601);
}

#[tokio::test]
async fn a_lagging_member_can_be_closed_instead() {
    let node = Node::start_with(|config| {
        tight(config);
        config.delivery.slow_consumer = SlowConsumer::Close;
    })
    .await;
    let mut slow = stuck(&node, "slow", "live://1").await;
    let message = vec![b'x'; 10_000];

    for _ in 0..300 {
        node.push_room("live://1", &[(1000, &message)]).await;
        tokio::task::yield_now().await;
    }

    eventually("closed", || {
        node.metric("closes_total", &["slow_consumer"]) == 1
    })
    .await;
    slow.closed().await;
    node.settled().await;
}

#[tokio::test]
async fn a_full_outbox_drops_for_its_own_connection_only() {
    let node = Node::start_with(tight).await;
    let _slow = stuck(&node, "slow", "").await;
    let mut quick = node.log_in("quick", "").await;
    let message = vec![b'x'; 10_000];

    for _ in 0..300 {
        node.push(&["slow", "quick"], 1000, &message).await;
        assert_eq!(quick.next().await.body.len(), message.len());
    }

    assert!(node.metric("push_outcomes_total", &["outbox_full"]) > 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_closed_at_the_write_deadline() {
    let node = Node::start_with(|config| {
        tight(config);
        config.delivery.write_deadline = Duration::from_millis(500);
    })
    .await;
    let _slow = stuck(&node, "slow", "live://1").await;
    let message = vec![b'x'; 10_000];

    for _ in 0..200 {
        node.push_room("live://1", &[(1000, &message)]).await;
        tokio::task::yield_now().await;
    }

    eventually("closed", || {
        node.metric("closes_total", &["write_timeout"]) == 1
    })
    .await;
    let (pushes, delivered, offline, dropped) = node.settled().await;
    assert_eq!(pushes, delivered + offline + dropped);
}

#[tokio::test]
async fn a_client_that_takes_a_large_message_slowly_is_not_closed() {
    let deadline = Duration::from_millis(500);
    let node = Node::start_with(|config| {
        tight(config);
        config.delivery.outbox_bytes_max = 4 << 20;
        config.delivery.write_deadline = deadline;
    })
    .await;
    let mut slow = stuck(&node, "slow", "").await;
    let message = vec![b'x'; 1 << 20];
    let started = Instant::now();
    node.push(&["slow"], 1000, &message).await;

    // Some of it every now and then, for several deadlines.
    let mut left = message.len() + HEADER_BYTES;
    let mut portion = vec![0; left / 20];
    let mut period = interval(deadline / 5);
    while left > 0 {
        period.tick().await;
        let some = left.min(portion.len());
        let read = slow.stream.read_exact(&mut portion[..some]).await;
        read.expect("the connection lives");
        left -= some;
    }

    assert!(started.elapsed() > 3 * deadline, "not slow enough");
    assert_eq!(slow.online().await, 0);
}

/// The kernel says that there is room when a third of the buffer is free.
#[tokio::test]
async fn a_client_that_takes_little_of_a_large_send_buffer_is_not_closed() {
    let deadline = Duration::from_millis(500);
    let node = Node::start_with(|config| {
        tight(config);
        config.socket.send_buffer_bytes = 1 << 20;
        config.delivery.outbox_bytes_max = 4 << 20;
        config.delivery.write_deadline = deadline;
    })
    .await;
    let mut slow = stuck(&node, "slow", "").await;
    let message = vec![b'x'; 3 << 20];
    node.push(&["slow"], 1000, &message).await;

    let mut left = message.len() + HEADER_BYTES;
    let mut portion = vec![0; 8 << 10];
    let mut period = interval(deadline / 5);
    for _ in 0..25 {
        period.tick().await;
        let read = slow.stream.read_exact(&mut portion).await;
        left -= read.expect("the connection lives");
    }
    let mut rest = vec![0; left];
    let read = slow.stream.read_exact(&mut rest).await;
    read.expect("the connection lives");
    assert_eq!(slow.online().await, 0);
}

#[tokio::test]
async fn a_client_that_is_behind_in_its_room_is_still_read_from() {
    let node = Node::start_with(tight).await;
    let mut slow = stuck(&node, "slow", "live://1").await;
    let message = vec![b'x'; 10_000];
    for _ in 0..50 {
        node.push_room("live://1", &[(1000, &message)]).await;
        tokio::task::yield_now().await;
    }

    slow.send(Op(4), b"what a client has to say").await;

    eventually("logic has it", || {
        node.logic.state.lock().received.len() == 1
    })
    .await;
    assert_eq!(node.metric("logic_calls_total", &["receive", "ok"]), 1);
}

#[tokio::test]
async fn a_client_whose_replies_wait_is_not_read_from() {
    let node = Node::start_with(tight).await;
    let mut slow = stuck(&node, "slow", "").await;
    let room = vec![b'r'; 500];

    // Far more requests than both kernels' buffers hold replies for.
    let mut sent = 0;
    loop {
        let request = slow.send(Op::SUB, &room);
        if tokio::time::timeout(Duration::from_millis(500), request)
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
        assert!(sent < 200_000, "the server reads on and on");
    }

    assert_eq!(node.metric("connections", &[]), 1);
    let mut quick = node.log_in("quick", "live://1").await;
    assert_eq!(quick.online().await, 1);
}

/// A socket that is closed with something unread takes back what has not arrived.
#[tokio::test]
async fn what_was_written_to_a_client_arrives_although_it_is_not_read_from() {
    let node = Node::start_with(tight).await;
    let gate = Arc::new(Semaphore::new(0));
    node.logic.state.lock().receive_gate = Some(Arc::clone(&gate));
    let mut slow = stuck(&node, "a", "live://1").await;
    slow.send(Op(4), b"what logic takes its time for").await;
    eventually("logic is asked", || node.logic.state.lock().receiving == 1).await;
    slow.send(Op::HEARTBEAT, b"").await;
    let message = vec![b'x'; 1_000];
    for _ in 0..50 {
        node.push_room("live://1", &[(1000, &message)]).await;
    }
    eventually("something is written", || {
        node.metric("push_outcomes_total", &["\"delivered\""]) > 4
    })
    .await;

    let _newer = node.log_in("a", "").await;

    eventually("closed", || node.metric("closes_total", &["replaced"]) == 1).await;
    let (_, delivered, ..) = node.settled().await;
    let mut received = 0;
    while let Ok(packet) = slow.next_or_closed().await {
        received += u64::from(packet.body.len() == message.len());
    }
    assert_eq!(received, delivered);
    gate.add_permits(1);
}
