//! Pushes reach exactly whom they are for, in order, and all are accounted for.

use halley_wire::Op;

use crate::support::{Client, Node, eventually};

#[tokio::test]
async fn a_room_gets_every_message_in_order_over_both_transports() {
    let node = Node::start().await;
    let mut tcp = node.log_in("a", "live://1").await;
    let mut websocket = node.websocket().await;
    websocket.log_in("b", "live://1").await;
    let mut outsider = node.log_in("c", "live://2").await;

    for number in 0..200u32 {
        node.push_room("live://1", &[(1000, &number.to_be_bytes())])
            .await;
    }

    for client in [&mut tcp, &mut websocket] {
        for number in 0..200u32 {
            let packet = client.next().await;
            assert_eq!(packet.header.op, Op(1000));
            assert_eq!(packet.body, number.to_be_bytes()[..]);
        }
    }
    assert_eq!(outsider.online().await, 1);
    assert_eq!(node.settled().await, (400, 400, 0, 0));
}

#[tokio::test]
async fn a_batch_counts_its_messages() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "live://1").await;

    node.push_room("live://1", &[(1000, b"one"), (2000, b"two")])
        .await;

    assert_eq!(client.next().await.body, "one");
    let second = client.next().await;
    assert_eq!(
        (second.header.op, &second.body[..]),
        (Op(2000), &b"two"[..])
    );
    assert_eq!(node.settled().await, (2, 2, 0, 0));
}

#[tokio::test]
async fn one_missing_key_changes_nothing_for_the_others() {
    let node = Node::start().await;
    let mut first = node.log_in("first", "").await;
    let mut deaf = node.log_in("deaf", "").await;
    deaf.call(Op::UNSUB, b"1000").await;
    let mut last = node.log_in("last", "").await;

    node.push(&["first", "nobody", "deaf", "last"], 1000, b"hello")
        .await;

    assert_eq!(first.next().await.body, "hello");
    assert_eq!(last.next().await.body, "hello");
    assert_eq!(node.settled().await, (4, 2, 1, 1));
}

#[tokio::test]
async fn a_broadcast_reaches_everyone_who_accepts_it() {
    let node = Node::start().await;
    let mut clients = node.crowd(150, "").await;
    let mut deaf = node.log_in("deaf", "").await;
    deaf.call(Op::UNSUB, b"1000").await;

    node.push_all(1000, b"all", 0).await.expect("taken");

    for client in &mut clients {
        assert_eq!(client.next().await.body, "all");
    }
    assert_eq!(node.settled().await, (150, 150, 0, 0));
}

#[tokio::test]
async fn paced_broadcasts_are_bounded() {
    let node = Node::start_with(|config| config.broadcast.paced_max = 1).await;
    let mut client = node.log_in("a", "").await;
    let mut other = node.log_in("b", "").await;

    node.push_all(1000, b"paced", 1).await.expect("taken");
    let refused = node.push_all(1000, b"one too many", 1).await;

    assert_eq!(refused, Err(tonic::Code::ResourceExhausted));
    assert_eq!(client.next().await.body, "paced");
    assert_eq!(other.next().await.body, "paced");
}

#[tokio::test]
async fn a_push_that_is_not_raw_is_one_packet() {
    let node = Node::start().await;
    let mut tcp = node.log_in("a", "").await;
    let mut websocket = node.websocket().await;
    websocket.log_in("b", "").await;
    let request = halley_proto::goim::comet::PushMsgReq {
        keys: vec!["a".to_owned(), "b".to_owned()],
        proto_op: 1000,
        proto: Some(halley_proto::goim::protocol::Proto {
            ver: 3,
            op: 77,
            seq: 9,
            body: "plain".into(),
        }),
    };

    node.service
        .push_msg(tonic::Request::new(request))
        .await
        .expect("taken");

    for client in [&mut tcp, &mut websocket] {
        let packet = client.next().await;
        assert_eq!(
            (packet.header.ver, packet.header.op, packet.header.seq),
            (3, Op(77), 9)
        );
        assert_eq!(packet.body, "plain");
    }
}

#[tokio::test]
async fn twenty_thousand_messages_in_a_burst_arrive() {
    let node = Node::start().await;
    let mut clients = node.crowd(5, "live://1").await;

    for number in 0..20_000u32 {
        node.push_room("live://1", &[(1000, &number.to_be_bytes())])
            .await;
    }

    for client in &mut clients {
        for number in 0..20_000u32 {
            assert_eq!(client.next().await.body, number.to_be_bytes()[..]);
        }
    }
    assert_eq!(node.settled().await, (100_000, 100_000, 0, 0));
}

#[tokio::test]
async fn a_room_of_one_that_leaves_takes_its_messages_along() {
    let node = Node::start().await;
    let client = node.log_in("a", "live://1").await;
    drop(client);
    node.connections(0).await;

    node.push_room("live://1", &[(1000, b"late")]).await;

    assert_eq!(node.settled().await, (1, 0, 1, 0));
    assert!(
        node.service
            .rooms(tonic::Request::new(halley_proto::goim::comet::RoomsReq {}))
            .await
            .expect("rooms")
            .into_inner()
            .rooms
            .is_empty()
    );
}

#[tokio::test]
async fn members_come_and_go_while_messages_flow() {
    let node = Node::start().await;
    let mut steady = node.log_in("steady", "live://1").await;
    for round in 0..50u32 {
        let mut guest: Client = node.log_in(&format!("guest-{round}"), "live://1").await;
        node.push_room("live://1", &[(1000, &round.to_be_bytes())])
            .await;
        assert_eq!(guest.next().await.body, round.to_be_bytes()[..]);
    }

    for round in 0..50u32 {
        assert_eq!(steady.next().await.body, round.to_be_bytes()[..]);
    }
    let (pushes, delivered, offline, dropped) = node.settled().await;
    assert_eq!((pushes, offline), (delivered + dropped, 0));
    eventually("the guests are gone", || {
        node.metric("connections", &[]) == 1
    })
    .await;
}
