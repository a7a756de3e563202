//! Disconnect and Heartbeat: which connection a key means.

use crate::harness::Node;

const LOGIN: &str = r#"{"mid":7,"key":"k"}"#;

#[tokio::test]
async fn a_disconnect_removes_the_binding() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    client.connect("comet-1", Some(1), LOGIN).await.unwrap();

    assert!(client.disconnect("comet-1", Some(1), 7, "k").await.unwrap());
    assert_eq!(node.server_of("k").await, None);
    assert!(!client.disconnect("comet-1", Some(1), 7, "k").await.unwrap());
}

#[tokio::test]
async fn a_late_disconnect_of_the_same_server_removes_nothing() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    client.connect("comet-1", Some(1), LOGIN).await.unwrap();
    client.connect("comet-1", Some(2), LOGIN).await.unwrap();

    assert!(!client.disconnect("comet-1", Some(1), 7, "k").await.unwrap());
    assert_eq!(node.server_of("k").await.as_deref(), Some("comet-1"));
    assert!(client.disconnect("comet-1", Some(2), 7, "k").await.unwrap());
}

#[tokio::test]
async fn a_late_disconnect_of_another_server_removes_nothing() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    client.connect("comet-1", Some(1), LOGIN).await.unwrap();
    // Numbers are the comet's own, so that two comets may use the same.
    client.connect("comet-2", Some(1), LOGIN).await.unwrap();

    assert!(!client.disconnect("comet-1", Some(1), 7, "k").await.unwrap());
    assert_eq!(node.server_of("k").await.as_deref(), Some("comet-2"));
}

#[tokio::test]
async fn of_goims_comets_the_server_is_compared() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    client.connect("comet-1", None, LOGIN).await.unwrap();
    client.connect("comet-2", None, LOGIN).await.unwrap();

    assert!(!client.disconnect("comet-1", None, 7, "k").await.unwrap());
    assert!(client.disconnect("comet-2", None, 7, "k").await.unwrap());
}

#[tokio::test]
async fn a_heartbeat_binds_again_what_was_lost_but_takes_nothing_from_a_newer_one() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;

    client.heartbeat("comet-1", 1, 7, "k").await.unwrap();
    assert_eq!(node.server_of("k").await.as_deref(), Some("comet-1"));

    client.connect("comet-2", Some(1), LOGIN).await.unwrap();
    client.heartbeat("comet-1", 1, 7, "k").await.unwrap();
    assert_eq!(node.server_of("k").await.as_deref(), Some("comet-2"));
}
