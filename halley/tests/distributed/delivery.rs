//! Without faults.

use halley_client::Transport;
use halley_tests::cluster::Cluster;

use crate::support::{Client, ask, found, push_ok};

pub(crate) async fn every_way_of_pushing_reaches_every_transport(cluster: &mut Cluster) {
    let http = cluster.logics[0].http;
    let mut clients = Vec::new();
    for (number, comet) in (1..).zip(&cluster.comets) {
        let (tcp, websocket) = (format!("ways-{number}-t"), format!("ways-{number}-w"));
        let room = "live://ways";
        let user = (number, tcp.as_str(), room);
        clients.push(Client::log_in(Transport::Tcp, comet.tcp, user).await);
        let user = (number, websocket.as_str(), room);
        clients.push(Client::log_in(Transport::Websocket, comet.websocket, user).await);
    }

    // Order is kept within a user or a room, so each push is received before the next.
    push_ok(
        http,
        "keys?keys=ways-1-t&keys=ways-3-w&keys=ways-gone",
        "keys",
        2,
    )
    .await;
    for place in [0, 5] {
        assert_eq!(clients[place].message().await, "keys");
    }
    push_ok(http, "mids?mids=2", "mids", 2).await;
    for place in [2, 3] {
        assert_eq!(clients[place].message().await, "mids");
    }
    push_ok(http, "room?type=live&room=ways", "room", 1).await;
    for client in &mut clients {
        assert_eq!(client.message().await, "room");
    }
    push_ok(http, "all?speed=0", "all", 1).await;
    for client in &mut clients {
        assert_eq!(client.message().await, "all");
    }
}

pub(crate) async fn pushes_through_either_logic_keep_their_order(cluster: &mut Cluster) {
    let user = (9, "ordered", "live://ordered");
    let mut client = Client::log_in(Transport::Tcp, cluster.comets[1].tcp, user).await;

    for number in 0..100 {
        let http = cluster.logics[number % 2].http;
        push_ok(http, "room?type=live&room=ordered", &number.to_string(), 1).await;
    }
    for number in 0..100 {
        assert_eq!(client.message().await, number.to_string());
    }
    for number in 0..100 {
        let http = cluster.logics[number % 2].http;
        push_ok(http, "keys?keys=ordered", &number.to_string(), 1).await;
    }
    for number in 0..100 {
        assert_eq!(client.message().await, number.to_string());
    }
}

pub(crate) async fn a_room_is_pushed_to_where_it_has_members(cluster: &mut Cluster) {
    let user = (10, "alone", "live://alone");
    let mut client = Client::log_in(Transport::Tcp, cluster.comets[1].tcp, user).await;
    let others = [&cluster.comets[0].node, &cluster.comets[2].node];
    let pushed_elsewhere = async || {
        let mut pushes = 0;
        for node in others {
            let samples = node.metrics().await.expect("metrics");
            pushes += samples.sum("halley_comet_pushes_total", &[r#"kind="room""#]);
        }
        pushes
    };

    found("a push that goes to no other comet", async || {
        let before = pushed_elsewhere().await;
        push_ok(cluster.logics[0].http, "room?type=live&room=alone", "hi", 1).await;
        assert_eq!(client.message().await, "hi");
        (pushed_elsewhere().await == before).then_some(())
    })
    .await;

    for comet in &cluster.comets {
        let samples = comet.node.metrics().await.expect("metrics");
        let late = samples.sum("halley_comet_streams_late_total", &[]);
        assert_eq!(
            late, 0,
            "jobs keep up with the rooms of {}",
            comet.node.name
        );
    }
}

pub(crate) async fn counts_are_those_of_all_comets(cluster: &mut Cluster) {
    let mut clients = Vec::new();
    for (number, comet) in cluster.comets.iter().enumerate() {
        let key = format!("counted-{number}");
        clients.push(Client::log_in(Transport::Tcp, comet.tcp, (0, &key, "live://counted")).await);
    }

    for logic in &cluster.logics {
        found("both logics count the room on every comet", async || {
            let count = ask(logic.http, "online/room?type=live&rooms=counted").await;
            (count["counted"] == clients.len()).then_some(())
        })
        .await;
        let nodes = ask(logic.http, "nodes/instances").await;
        assert_eq!(nodes.as_array().map(Vec::len), Some(cluster.comets.len()));
    }
}
