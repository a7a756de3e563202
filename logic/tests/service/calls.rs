//! `RenewOnline`, Receive and Nodes, and what the channel must bear.

use std::collections::HashMap;
use std::time::Duration;

use halley_proto::goim::logic::{NodesReq, OnlineReq, ReceiveReq};
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::node::NodeStatus;
use halley_proto::metadata;
use tokio::time::{Instant, timeout};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};

use crate::harness::{Node, PATIENCE};

fn rooms(server: &str, rooms: impl IntoIterator<Item = (String, i32)>) -> Request<OnlineReq> {
    Request::new(OnlineReq {
        server: server.to_owned(),
        room_count: rooms.into_iter().collect(),
    })
}

fn one(room: &str, count: i32) -> [(String, i32); 1] {
    [(room.to_owned(), count)]
}

#[tokio::test]
async fn a_comet_gets_the_totals_of_all() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;

    client
        .renew_online(rooms("comet-1", one("live://1", 2)))
        .await
        .unwrap();
    let totals = async {
        loop {
            let reply = client
                .renew_online(rooms("comet-2", one("live://1", 3)))
                .await
                .unwrap();
            let totals = reply.into_inner().all_room_count;
            if totals == HashMap::from(one("live://1", 5)) {
                return;
            }
        }
    };

    timeout(PATIENCE, totals)
        .await
        .expect("the totals of both within seconds");
}

#[tokio::test]
async fn a_comet_learns_when_the_sessions_lost_its_bindings() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;

    for epoch in [None, Some(5), Some(6)] {
        *node.sessions.epoch.lock() = epoch;
        let reply = client.renew_online(rooms("comet-1", [])).await.unwrap();
        assert_eq!(metadata::epoch(reply.metadata()), epoch);
    }
}

#[tokio::test]
async fn a_comet_becomes_known_by_what_it_says_of_itself() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;
    let mut request = rooms("comet-1", []);
    let status = NodeStatus {
        hostname: "comet-1".to_owned(),
        addrs: vec!["192.0.2.1".to_owned()],
        weight: 10,
        conn_count: 3,
        ip_count: 2,
        ..NodeStatus::default()
    };
    metadata::set_node(request.metadata_mut(), &status);

    client.renew_online(request).await.unwrap();

    let nodes = client
        .nodes(NodesReq {
            platform: "ios".to_owned(),
            client_ip: "not an address".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(nodes.nodes, ["192.0.2.1"]);
    assert_eq!(
        (nodes.tcp_port, nodes.ws_port, nodes.wss_port),
        (3101, 3102, 3103)
    );
    assert_eq!((nodes.heartbeat, nodes.heartbeat_max), (240, 2));
    assert_eq!(node.metric("halley_logic_online_connections"), 3);
}

#[tokio::test]
async fn gzip_is_taken_and_answered() {
    let node = Node::start(|_| {});
    let mut client = node
        .client()
        .await
        .0
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let many: HashMap<String, i32> = (0..2_000).map(|n| (format!("live://{n}"), n)).collect();

    let response = client
        .renew_online(rooms("comet-1", many.clone()))
        .await
        .unwrap();

    let encoding = response.metadata().get("grpc-encoding").unwrap();
    assert_eq!(encoding, "gzip");
    assert_eq!(response.into_inner().all_room_count, many);
}

#[tokio::test]
async fn who_does_not_take_gzip_is_answered_without() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;

    let response = client
        .renew_online(rooms("comet-1", one("live://1", 1)))
        .await
        .unwrap();

    assert!(response.metadata().get("grpc-encoding").is_none());
}

#[tokio::test]
async fn messages_may_be_as_large_as_goims_clients_allow() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;
    let receive = |bytes: usize| ReceiveReq {
        mid: 7,
        proto: Some(Proto {
            body: vec![0; bytes].into(),
            ..Proto::default()
        }),
    };

    client.receive(receive(15 * 1024 * 1024)).await.unwrap();
    let status = client.receive(receive(17 * 1024 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn what_a_client_sent_is_counted_also_without_a_sink() {
    let node = Node::start(|_| {});
    let mut client = node.client().await.0;

    client
        .receive(ReceiveReq {
            mid: 7,
            proto: Some(Proto::default()),
        })
        .await
        .unwrap();
    let status = client
        .receive(ReceiveReq {
            mid: 7,
            proto: None,
        })
        .await
        .unwrap_err();

    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(
        node.metric("halley_logic_receives_total{outcome=\"ignored\"}"),
        1
    );
}

#[tokio::test]
async fn frequent_pings_are_borne() {
    let node = Node::start(|_| {});
    let channel = node
        .endpoint()
        .http2_keep_alive_interval(Duration::from_millis(5))
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .unwrap();
    let mut client = halley_proto::goim::logic::logic_client::LogicClient::new(channel);
    let start = Instant::now();

    // Fifty pings and more, where grpc-go allows for three.
    while start.elapsed() < Duration::from_millis(300) {
        client.nodes(NodesReq::default()).await.unwrap();
    }
}
