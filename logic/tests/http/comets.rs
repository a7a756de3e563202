//! Pushes to comets that a registry lists, or not.

use std::sync::Arc;

use halley_proto::goim::logic::ConnectReq;
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;

use crate::harness::Harness;

fn listed(names: &[&str]) -> Arc<[NodeStatus]> {
    let nodes = names.iter().map(|name| NodeStatus {
        hostname: (*name).to_owned(),
        addrs: vec![format!("{name}.example.org")],
        weight: 10,
        conn_count: 3,
        ip_count: 2,
        ..NodeStatus::default()
    });
    nodes.collect()
}

/// The receipt of a push to the keys `a` and `b`, of the comets `A` and `B`,
/// and the servers that it was published for.
async fn push(node: &Harness) -> (String, Vec<String>) {
    let target = "/goim/push/keys?operation=9&keys=a&keys=b&receipt=1";
    let answer = node.send("POST", target, b"hi").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let published = node.published().into_iter().flatten();
    let mut servers: Vec<_> = published.map(|record| record.server).collect();
    servers.sort();
    (answer.body, servers)
}

fn receipt(accepted: usize, offline: &str) -> String {
    format!(r#"{{"code":0,"message":"","data":{{"accepted":{accepted},"offline":[{offline}]}}}}"#)
}

#[tokio::test]
async fn a_key_of_a_comet_that_is_gone_is_offline() {
    let (registry, comets) = watch::channel(None);
    let node = Harness::start_among(Some(comets), |_| {});
    node.bind(1, "a", "A").await;
    node.bind(2, "b", "B").await;

    // Nothing is known, or nothing that can be: the push log takes all.
    for snapshot in [None, Some(listed(&[]))] {
        registry.send_replace(snapshot);
        let (body, servers) = push(&node).await;
        assert_eq!((body, servers.len()), (receipt(2, ""), 2));
    }

    registry.send_replace(Some(listed(&["B", "C"])));
    assert_eq!(
        push(&node).await,
        (receipt(1, r#""a""#), vec!["B".to_owned()])
    );
    let answer = node.send(
        "POST",
        "/goim/push/mids?operation=9&mids=1&mids=2&receipt=1",
        b"hi",
    );
    assert_eq!(answer.await.body, receipt(1, r#""1""#));
    assert_eq!(node.published()[0][0].server, "B");

    registry.send_replace(Some(listed(&["A", "B"])));
    let (body, servers) = push(&node).await;
    assert_eq!((body, servers.len()), (receipt(2, ""), 2));
}

#[tokio::test]
async fn a_comet_that_drains_still_has_its_keys() {
    let mut nodes = listed(&["A", "B"]);
    Arc::get_mut(&mut nodes).unwrap()[0].draining = true;
    let (_registry, comets) = watch::channel(Some(nodes));
    let node = Harness::start_among(Some(comets), |_| {});
    node.bind(1, "a", "A").await;
    node.bind(2, "b", "B").await;

    assert_eq!(push(&node).await.0, receipt(2, ""));
    let nodes = node.send("GET", "/goim/nodes/weighted", b"").await;
    assert!(
        nodes.body.contains(r#""nodes":["B.example.org"]"#),
        "{}",
        nodes.body
    );
}

#[tokio::test]
async fn a_comet_that_calls_lives_before_it_is_listed() {
    let (_registry, comets) = watch::channel(Some(listed(&["B"])));
    let node = Harness::start_among(Some(comets), |_| {});
    node.bind(2, "b", "B").await;
    let login = tonic::Request::new(ConnectReq {
        server: "A".to_owned(),
        token: r#"{"mid":1,"key":"a"}"#.into(),
        ..ConnectReq::default()
    });
    node.service.connect(login).await.unwrap();

    assert_eq!(push(&node).await.0, receipt(2, ""));
}

#[tokio::test]
async fn the_registry_counts_for_more_than_what_comets_say() {
    let (_registry, comets) = watch::channel(Some(listed(&["A"])));
    let node = Harness::start_among(Some(comets), |_| {});
    for name in ["A", "X"] {
        let told = NodeStatus {
            hostname: name.to_owned(),
            addrs: vec!["elsewhere".to_owned()],
            weight: 10,
            conn_count: 100,
            ..NodeStatus::default()
        };
        node.renew(&told, &[]).await;
    }

    let nodes = node.send("GET", "/goim/nodes/weighted", b"").await;
    assert!(
        nodes.body.contains(r#""nodes":["A.example.org"]"#),
        "{}",
        nodes.body
    );
    let total = node.send("GET", "/goim/online/total", b"").await;
    assert!(
        total.body.contains(r#""conn_count":3,"ip_count":2"#),
        "{}",
        total.body
    );
    let instances = node.send("GET", "/goim/nodes/instances", b"").await;
    assert_eq!(instances.body.matches("hostname").count(), 1);
}
