//! What jobs are told of the rooms, and when a join is confirmed.

use std::collections::HashSet;
use std::time::Duration;

use halley_proto::halley::delivery::{Pushes, RoomChanges};
use halley_wire::Op;
use tokio::time::{Instant, timeout};

use crate::support::job::{TestJob, to_room};
use crate::support::{Node, eventually, soon};

/// Longer than a test: a join that waits for a job waits until it answers.
const LONG: Duration = Duration::from_mins(1);

async fn patient() -> Node {
    Node::start_with(|config| config.delivery.rooms_ack_timeout = LONG).await
}

async fn job(node: &Node, session: &str) -> TestJob {
    TestJob::open(node.addresses.grpc.expect("gRPC is served"), session).await
}

/// Follows the changes as a job does.
#[derive(Default)]
struct View {
    held: HashSet<String>,
    is_complete: bool,
}

impl View {
    fn take(&mut self, changes: RoomChanges) {
        for room in changes.released {
            assert!(self.held.remove(&room), "released without being held");
        }
        self.held.extend(changes.held);
        self.is_complete |= changes.complete;
    }

    async fn complete(job: &mut TestJob) -> Self {
        let mut view = Self::default();
        while !view.is_complete {
            view.take(job.rooms().await);
        }
        view
    }
}

#[tokio::test]
async fn a_stream_begins_with_every_room() {
    let node = patient().await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let room = format!("live://{}", number % 20);
        clients.push(node.log_in(&format!("key-{number}"), &room).await);
    }

    let mut job = job(&node, "job-1").await;
    let view = View::complete(&mut job).await;

    assert!(job.hello.reports_rooms);
    assert_eq!(job.hello.rooms_lease_ms, 60_000);
    let rooms: HashSet<_> = (0..20).map(|room| format!("live://{room}")).collect();
    assert_eq!(view.held, rooms);
    // No news for anyone: these rooms are held.
    let late = clients[0].call(Op::CHANGE_ROOM, b"live://7").await;
    assert_eq!(late.body, "live://7");
}

#[tokio::test]
async fn a_node_without_rooms_says_so() {
    let node = patient().await;

    let mut job = job(&node, "job-1").await;

    assert!(View::complete(&mut job).await.held.is_empty());
}

#[tokio::test]
async fn a_login_into_a_new_room_is_answered_when_every_job_knows() {
    let node = patient().await;
    let mut quick = job(&node, "job-1").await;
    let mut slow = job(&node, "job-2").await;
    View::complete(&mut quick).await;
    View::complete(&mut slow).await;
    slow.acknowledges = false;

    let mut client = node.tcp().await;
    let auth = r#"{"mid":1,"key":"a","room_id":"live://1","accepts":[1000]}"#;
    client.send(Op::AUTH, auth.as_bytes()).await;
    assert_eq!(quick.rooms().await.held, ["live://1"]);
    let news = slow.rooms().await;
    assert_eq!(news.held, ["live://1"]);
    // It is a member already: what comes now waits behind the answer.
    quick.push(vec![to_room(1, "live://1", b"early")]).await;
    quick.done(1).await;
    let answer = timeout(Duration::from_millis(100), client.next()).await;
    assert!(answer.is_err(), "answered although one job does not know");

    slow.acknowledge(news.version).await;

    assert_eq!(client.next().await.header.op, Op::AUTH_REPLY);
    assert_eq!(client.next().await.body, "early");
    assert_eq!(node.settled().await, (1, 1, 0, 0));
}

#[tokio::test]
async fn a_change_to_a_new_room_is_answered_when_every_job_knows() {
    let node = patient().await;
    let mut client = node.log_in("a", "live://1").await;
    let mut other = node.log_in("b", "live://1").await;
    let mut job = job(&node, "job-1").await;
    View::complete(&mut job).await;
    job.acknowledges = false;

    client.send(Op::CHANGE_ROOM, b"live://2").await;
    client.send(Op::HEARTBEAT, b"").await;
    let news = job.rooms().await;
    assert_eq!(news.held, ["live://2"]);
    assert!(
        timeout(Duration::from_millis(100), client.next())
            .await
            .is_err()
    );
    // Others are not concerned.
    assert_eq!(other.online().await, 1);

    job.acknowledge(news.version).await;

    let reply = client.next().await;
    assert_eq!(reply.header.op, Op::CHANGE_ROOM_REPLY);
    assert_eq!(reply.body, "live://2");
    assert_eq!(client.next().await.header.op, Op::HEARTBEAT_REPLY);
}

#[tokio::test]
async fn changes_are_sent_one_message_after_the_other() {
    let node = patient().await;
    let mut job = job(&node, "job-1").await;
    View::complete(&mut job).await;
    job.acknowledges = false;
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut client = node.tcp().await;
        let auth = format!(r#"{{"key":"{number}","room_id":"live://{number}"}}"#);
        client.send(Op::AUTH, auth.as_bytes()).await;
        clients.push(client);
    }
    let first = job.rooms().await;
    eventually("all are in their rooms", || {
        node.metric("connections", &[]) == 10
    })
    .await;

    job.acknowledge(first.version).await;
    let second = job.rooms().await;
    job.acknowledge(second.version).await;

    assert!(second.version > first.version);
    let mut held: Vec<_> = first.held.into_iter().chain(second.held).collect();
    held.sort();
    let all: Vec<_> = (0..10).map(|room| format!("live://{room}")).collect();
    assert_eq!(held, all);
    for client in &mut clients {
        assert_eq!(client.next().await.header.op, Op::AUTH_REPLY);
    }
}

#[tokio::test]
async fn a_job_that_does_not_answer_in_time_loses_its_stream() {
    let node = Node::start_with(|config| {
        config.delivery.rooms_ack_timeout = Duration::from_millis(100);
    })
    .await;
    let mut good = job(&node, "job-1").await;
    let mut hung = job(&node, "job-2").await;
    View::complete(&mut good).await;
    View::complete(&mut hung).await;
    hung.acknowledges = false;
    let started = Instant::now();

    let mut client = good.while_reading(node.log_in("a", "live://1")).await;

    assert!(started.elapsed() >= Duration::from_millis(100));
    let ended = hung.end().await.expect_err("it is closed");
    assert_eq!(ended.code(), tonic::Code::Aborted);
    assert_eq!(node.metric("streams_late_total", &[]), 1);
    // The next join does not wait for it.
    let changed = good.while_reading(client.call(Op::CHANGE_ROOM, b"live://2"));
    assert_eq!(soon("a reply", changed).await.body, "live://2");
    // It comes back and finds out.
    let mut back = job(&node, "job-2").await;
    let held = View::complete(&mut back).await.held;
    assert!(held.contains("live://2"));
}

#[tokio::test]
async fn a_beat_is_returned_behind_the_changes_before_it() {
    let node = patient().await;
    let mut job = job(&node, "job-1").await;
    View::complete(&mut job).await;
    job.acknowledges = false;
    let beat = |beat| Pushes {
        beat,
        ..Pushes::default()
    };
    let mut first = node.tcp().await;
    first
        .send(Op::AUTH, br#"{"key":"a","room_id":"live://1"}"#)
        .await;
    let news = job.rooms().await;
    let mut second = node.tcp().await;
    second
        .send(Op::AUTH, br#"{"key":"b","room_id":"live://2"}"#)
        .await;
    eventually("both are in their rooms", || {
        node.metric("connections", &[]) == 2
    })
    .await;

    // The second change is held back by the first.
    job.pushes.send(beat(7)).await.expect("the stream is open");
    job.push(vec![to_room(1, "live://1", b"x")]).await;
    job.done(1).await;
    assert_eq!(job.beat, 0);
    job.acknowledge(news.version).await;

    let news = job.rooms().await;
    assert_eq!(news.held, ["live://2"]);
    while job.beat != 7 {
        job.report().await.expect("the stream goes on");
    }
    assert_eq!(first.next().await.header.op, Op::AUTH_REPLY);
}

#[tokio::test]
async fn a_room_is_released_some_time_after_its_last_member() {
    let node = patient().await;
    let mut client = node.log_in("a", "live://1").await;
    let mut job = job(&node, "job-1").await;
    let mut view = View::complete(&mut job).await;

    // A room that empties for a moment is no news.
    for _ in 0..3 {
        for room in ["live://2", "live://1"] {
            let changed = job.while_reading(client.call(Op::CHANGE_ROOM, room.as_bytes()));
            changed.await;
        }
    }
    view.take(job.rooms().await);
    assert_eq!(view.held.len(), 2);
    drop(client);

    while !view.held.is_empty() {
        let changes = job.rooms().await;
        assert!(changes.held.is_empty(), "{changes:?}");
        view.take(changes);
    }
    assert_eq!(node.metric("rooms_held", &[]), 0);
    let again = job.while_reading(node.log_in("b", "live://1"));
    drop(again.await);
}

#[tokio::test]
async fn nobody_waits_when_the_last_job_has_gone() {
    let node = patient().await;
    let mut client = node.log_in("a", "live://1").await;
    let mut job = job(&node, "job-1").await;
    View::complete(&mut job).await;
    job.acknowledges = false;
    client.send(Op::CHANGE_ROOM, b"live://2").await;
    job.rooms().await;

    drop(job);

    assert_eq!(client.next().await.body, "live://2");
    client.call(Op::CHANGE_ROOM, b"live://3").await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_sent_away_in_order() {
    let node = patient().await;
    let mut job = job(&node, "job-1").await;
    View::complete(&mut job).await;
    job.acknowledges = false;
    let mut client = node.tcp().await;
    client
        .send(Op::AUTH, br#"{"key":"a","room_id":"live://1"}"#)
        .await;
    job.rooms().await;

    node.drain.cancel();

    assert_eq!(client.next().await.header.op, Op::AUTH_REPLY);
    assert_eq!(client.next().await.header.op, Op::DISCONNECT_REPLY);
    let outcome = soon("the node ends", node.done).await;
    let outcome = outcome.expect("no panic").expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (1, 0));
}
