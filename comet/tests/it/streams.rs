//! Pushes over a job's stream: in order, once, reported, whatever is cut.

use std::time::Duration;

use halley_proto::halley::delivery::{Item, Pushes, Refusal};
use halley_wire::Op;
use tonic::Code;

use crate::support::job::{TestJob, to_all, to_all_slowly, to_key, to_room};
use crate::support::{Client, Node, eventually};

async fn job(node: &Node, session: &str) -> TestJob {
    TestJob::open(node.addresses.grpc.expect("gRPC is served"), session).await
}

#[tokio::test]
async fn items_of_all_kinds_arrive_in_the_order_of_the_stream() {
    let node = Node::start().await;
    let mut member = node.log_in("a", "live://1").await;
    let mut websocket = node.websocket().await;
    websocket.log_in("b", "live://1").await;
    let mut job = job(&node, "job-1").await;

    for turn in 0..100 {
        let id = turn * 3;
        let body = |number: u64| format!("{number}").into_bytes();
        let items = vec![
            to_room(id + 1, "live://1", &body(id + 1)),
            to_key(id + 2, "a", &body(id + 2)),
            to_key(id + 3, "b", &body(id + 3)),
        ];
        job.push(items).await;
    }
    job.done(300).await;

    let mut to_a = Vec::new();
    let mut to_b = Vec::new();
    for _ in 0..200 {
        to_a.push(member.next().await.body);
        to_b.push(websocket.next().await.body);
    }
    let number = |body: &bytes::Bytes| -> u64 {
        let text = std::str::from_utf8(body).expect("text");
        text.parse().expect("a number")
    };
    for (received, own) in [(&to_a, 2), (&to_b, 0)] {
        for kind in [1, own] {
            let of_kind: Vec<_> = received.iter().map(number).collect();
            let of_kind = of_kind.iter().filter(|number| *number % 3 == kind);
            assert!(of_kind.clone().is_sorted() && of_kind.count() == 100);
        }
    }
    assert!(job.refused.is_empty());
    assert_eq!(node.settled().await, (400, 400, 0, 0));
    assert_eq!(node.metric("items_total", &["\"carried_out\""]), 300);
}

#[tokio::test]
async fn a_broadcast_reaches_everyone_and_waits_its_turn() {
    let node = Node::start_with(|config| config.broadcast.queue_max = 1).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(node.log_in(&format!("key-{number}"), "").await);
    }
    let mut job = job(&node, "job-1").await;

    job.push((1..=50).map(|id| to_all(id, b"to all")).collect())
        .await;
    job.done(50).await;

    for client in &mut clients {
        for _ in 0..50 {
            assert_eq!(client.next().await.body, "to all");
        }
    }
    assert!(job.refused.is_empty());
    assert_eq!(node.settled().await, (250, 250, 0, 0));
}

/// A node with one place for broadcasts with a speed, which is taken by item 1 of
/// `job-1` for longer than a test, and its members.
async fn occupied(wait: Duration) -> (Node, TestJob, Vec<Client>) {
    let node = Node::start_with(|config| {
        config.broadcast.paced_max = 1;
        config.broadcast.wait = wait;
        config.delivery.rooms_ack_timeout = Duration::from_mins(1);
    })
    .await;
    let members = node.crowd(60, "").await;
    let mut job = job(&node, "job-1").await;
    job.push(vec![to_all_slowly(1)]).await;
    job.done(1).await;
    (node, job, members)
}

/// The items that had no place.
fn without_place(refused: &[Refusal]) -> Vec<u64> {
    let refused = refused.iter();
    let full = refused.filter(|refusal| refusal.reason == "too many broadcasts wait");
    full.map(|refusal| refusal.id).collect()
}

#[tokio::test]
async fn a_broadcast_that_waits_for_a_place_holds_up_nothing_else() {
    let (node, mut job, _members) = occupied(Duration::from_mins(1)).await;
    let mut client = node.log_in("a", "").await;

    job.push(vec![
        to_all_slowly(2),
        to_key(3, "a", b"behind it"),
        to_all(4, b"at once"),
    ])
    .await;

    assert_eq!(client.next().await.body, "behind it");
    assert_eq!(client.next().await.body, "at once");
    // The join is confirmed when the job has returned the change.
    let changed = job.while_reading(client.call(Op::CHANGE_ROOM, b"live://1"));
    assert_eq!(changed.await.body, "live://1");
    assert_eq!(node.metric("items_total", &["\"carried_out\""]), 3);
    assert_eq!((job.done, job.refused.len()), (1, 0));
}

#[tokio::test]
async fn a_broadcast_that_has_waited_for_too_long_is_refused() {
    let (node, mut job, mut members) = occupied(Duration::from_millis(50)).await;

    job.push(vec![
        to_all_slowly(2),
        to_all_slowly(3),
        to_key(4, "key-59", b"behind them"),
    ])
    .await;
    job.done(4).await;

    assert_eq!(members[59].next().await.body, "behind them");
    assert_eq!(without_place(&job.refused), [2, 3]);
    assert_eq!(node.metric("items_total", &["\"refused\""]), 2);
}

#[tokio::test]
async fn a_broadcast_whose_stream_ends_while_it_waits_is_refused() {
    let (node, first, _members) = occupied(Duration::from_mins(1)).await;
    first
        .push(vec![to_all_slowly(2), to_key(3, "a", b"x")])
        .await;
    eventually("both are taken on", || {
        node.metric("items_total", &["\"carried_out\""]) == 2
    })
    .await;

    let second = job(&node, "job-1").await;

    assert_eq!(second.resumed, 3);
    assert_eq!(without_place(&second.refused), [2]);
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_and_the_rest_goes_on() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "").await;
    let mut job = job(&node, "job-1").await;
    let torn = Item {
        packets: "no packets".into(),
        ..to_key(2, "a", b"")
    };
    let without_target = Item {
        target: None,
        ..to_key(3, "a", b"for nobody")
    };

    let last = to_key(6, "a", b"second");
    job.push(vec![
        to_key(1, "a", b"first"),
        torn.clone(),
        without_target,
        to_room(4, "", b"for nobody"),
        to_key(5, "nobody", b"offline"),
        last,
    ])
    .await;
    job.done(6).await;

    assert_eq!(client.next().await.body, "first");
    assert_eq!(client.next().await.body, "second");
    let refused: Vec<_> = job.refused.iter().map(|refusal| refusal.id).collect();
    assert_eq!(refused, [2, 3, 4]);
    assert!(job.refused[0].reason.contains("malformed"));
    assert_eq!(job.refused[1].reason, "no target");
    assert_eq!(node.settled().await, (4, 2, 1, 1));

    // As if the job had not got the report.
    let mut again = TestJob::open(node.addresses.grpc.expect("gRPC"), "job-1").await;
    assert_eq!((again.resumed, &again.refused), (6, &job.refused));
    again.push(vec![torn, to_key(7, "a", b"third")]).await;
    again.done(7).await;
    assert_eq!(again.refused, job.refused);
    assert_eq!(client.next().await.body, "third");
}

#[tokio::test]
async fn a_job_that_comes_back_doubles_nothing() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "").await;
    let all: Vec<_> = (1..=60)
        .map(|id| to_key(id, "a", id.to_string().as_bytes()))
        .collect();
    let mut first = job(&node, "job-1").await;
    assert_eq!(first.resumed, 0);
    first.push(all[..40].to_vec()).await;
    first.done(40).await;
    // Nothing of this one is read any more.
    first.push(all[40..50].to_vec()).await;

    let mut second = job(&node, "job-1").await;
    assert!(second.resumed >= 40);
    second.push(all[30..].to_vec()).await;
    second.done(60).await;

    for id in 1..=60 {
        assert_eq!(client.next().await.body, id.to_string());
    }
    let ended = first.end().await.expect_err("the newer stream ended it");
    assert_eq!(ended.code(), Code::Aborted);
    assert_eq!(node.settled().await, (60, 60, 0, 0));
    assert!(node.metric("items_total", &["\"repeated\""]) >= 10);
    eventually("one stream is left", || node.metric("streams", &[]) == 1).await;

    let other = job(&node, "job-2").await;
    assert_eq!(other.resumed, 0);
    assert_eq!(other.hello.incarnation, second.hello.incarnation);
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_where_it_was() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "").await;
    let mut sent = 0;
    for cut in 0..5 {
        let mut stream = job(&node, "job-1").await;
        let known = stream.resumed;
        assert!(known >= cut * 10, "{known} after {cut} cuts");
        // Everything from the start, as if no report had ever arrived.
        let again = (1..=sent + 20).map(|id| to_key(id, "a", id.to_string().as_bytes()));
        stream.push(again.collect()).await;
        stream.done(sent + 10).await;
        sent += 20;
    }
    let mut last = job(&node, "job-1").await;
    last.push(vec![to_key(sent + 1, "a", b"the end")]).await;
    last.done(sent + 1).await;

    let mut seen = 0;
    loop {
        let body = client.next().await.body;
        if body == "the end" {
            break;
        }
        seen += 1;
        assert_eq!(body, seen.to_string());
    }
    assert_eq!(seen, sent);
}

#[tokio::test]
async fn every_key_that_is_gone_counts_as_offline() {
    let node = Node::start().await;
    let mut job = job(&node, "job-1").await;

    job.push((1..=1000).map(|id| to_key(id, "gone", b"x")).collect())
        .await;
    job.done(1000).await;

    assert_eq!(node.settled().await, (1000, 0, 1000, 0));
}

#[tokio::test]
async fn a_stream_without_a_good_beginning_is_refused() {
    let node = Node::start_with(|config| {
        config.delivery.streams_max = 1;
        config.delivery.items_max = 2;
        config.rpc.keepalive_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let address = node.addresses.grpc.expect("gRPC is served");
    let refused = |session: String| async move {
        let opened = TestJob::try_open(address, &session).await;
        opened.err().expect("it is refused").code()
    };

    assert_eq!(refused(String::new()).await, Code::InvalidArgument);
    assert_eq!(refused("x".repeat(257)).await, Code::InvalidArgument);
    let mut one = job(&node, "job-1").await;
    assert_eq!(refused("job-2".to_owned()).await, Code::ResourceExhausted);
    assert_eq!(one.hello.items_max, 2);

    one.push((1..=3).map(|id| to_key(id, "a", b"x")).collect())
        .await;
    let ended = one.end().await.expect_err("too many items");
    assert_eq!(ended.code(), Code::InvalidArgument);
    assert_eq!(node.metric("pushes_total", &[]), 0);
}

#[tokio::test]
async fn a_job_that_says_nothing_is_sent_away() {
    let node = Node::start_with(|config| {
        config.rpc.keepalive_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    let address = node.addresses.grpc.expect("gRPC is served");
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = channel.expect("an address").connect_lazy();
    let mut client = halley_proto::halley::delivery::delivery_client::DeliveryClient::new(channel);
    let (_pushes, silence) = tokio::sync::mpsc::channel::<Pushes>(1);
    let silence = tokio_stream::wrappers::ReceiverStream::new(silence);

    let reports = client.deliver(silence).await.expect("opened");

    let ended = reports.into_inner().message().await;
    assert_eq!(ended.expect_err("sent away").code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_drain_goes_on_taking_items_and_reports_them_all() {
    let mut node = Node::start_with(|config| config.drain.connections_per_second = 20).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(node.log_in(&format!("key-{number}"), "").await);
    }
    let mut job = job(&node, "job-1").await;
    let mut sent = 0;
    node.drain.cancel();

    // Until the comet ends the stream, items for keys that leave one after another.
    loop {
        let items = (0..20)
            .map(|number| to_key(sent + number + 1, &format!("key-{number}"), b"x"))
            .collect();
        job.push(items).await;
        sent += 20;
        match job.report().await.expect("the stream ends in order") {
            Some(_) => {}
            None => break,
        }
    }

    let outcome = (&mut node.done).await.expect("no panic").expect("no error");
    assert_eq!((outcome.clean, outcome.forced), (20, 0));
    let (pushes, delivered, offline, _) = node.settled().await;
    assert!(delivered > 0 && offline > 0, "{delivered} and {offline}");
    assert_eq!(pushes, job.done, "what was carried out was reported");
}
