//! What all registries do: those that nodes announce themselves to, and those
//! that are only read.

pub(crate) mod discovery;
pub(crate) mod dns;
pub(crate) mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::registry::{Registry, Role, Snapshot};
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that is not renewed ends after less than this.
const LEASE_MAX: Duration = Duration::from_secs(5);

/// A registry that nodes announce themselves to.
pub(crate) struct Announced {
    pub(crate) engine: Box<dyn Engine>,
    /// Renews leases several times a second.
    pub(crate) brisk: Box<dyn Fn() -> Arc<dyn Registry>>,
    /// Renews leases more rarely than any test waits.
    pub(crate) slow: Box<dyn Fn() -> Arc<dyn Registry>>,
}

/// A registry that knows the comets `a` and `b` without their doing.
pub(crate) struct Known {
    pub(crate) registry: Arc<dyn Registry>,
    /// Whom it asks.
    pub(crate) _server: Option<dns::FakeDns>,
}

/// What a registry is kept in.
#[async_trait]
pub(crate) trait Engine {
    /// Forgets everything.
    async fn wipe(&mut self);
    /// Ends as if killed.
    async fn kill(&mut self);
    /// Starts again, empty.
    async fn restart(&mut self);
}

pub(crate) fn node(hostname: &str, started_ms: i64) -> NodeStatus {
    NodeStatus {
        hostname: hostname.to_owned(),
        region: "north".to_owned(),
        zone: "n1".to_owned(),
        env: "test".to_owned(),
        addrs: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
        grpc: format!("grpc://{hostname}.internal:3109"),
        weight: 10,
        conn_count: 7,
        ip_count: 5,
        draining: false,
        started_ms,
    }
}

/// Waits until the nodes are as `expected` says.
pub(crate) async fn until(
    watch: &mut watch::Receiver<Snapshot>,
    mut expected: impl FnMut(&[NodeStatus]) -> bool,
) -> Arc<[NodeStatus]> {
    let wait = watch.wait_for(|nodes| nodes.as_deref().is_some_and(&mut expected));
    let snapshot = timeout(PATIENCE, wait).await;
    snapshot
        .expect("the nodes become as expected")
        .unwrap()
        .clone()
        .unwrap()
}

/// Whether there is a node that started then.
fn started(nodes: &[NodeStatus], started_ms: i64) -> bool {
    nodes.iter().any(|node| node.started_ms == started_ms)
}

pub(crate) fn names(nodes: &[NodeStatus]) -> Vec<&str> {
    nodes.iter().map(|node| &*node.hostname).collect()
}

pub(crate) async fn announced_nodes_are_seen_by_all(registry: Announced) {
    let (here, there) = ((registry.slow)(), (registry.slow)());
    let (a, b) = (node("a", 1), node("b", 2));
    let logic = NodeStatus {
        addrs: Vec::new(),
        ..node("a", 3)
    };
    let status = |node: &NodeStatus| watch::channel(node.clone()).1;

    let _b = there.announce(Role::Comet, status(&b)).await;
    let _a = here.announce(Role::Comet, status(&a)).await;
    let _logic = here.announce(Role::Logic, status(&logic)).await;

    for registry in [here, there] {
        let mut comets = registry.watch(Role::Comet);
        assert_eq!(
            *until(&mut comets, |n| n.len() == 2).await,
            [a.clone(), b.clone()]
        );
        let mut logics = registry.watch(Role::Logic);
        let listed = until(&mut logics, |nodes| nodes.len() == 1).await;
        assert_eq!(listed[0], logic);
    }
}

pub(crate) async fn a_change_of_state_is_told_at_once(registry: Announced) {
    let registry = (registry.slow)();
    let mut watch = registry.watch(Role::Comet);
    let (status, receiver) = watch::channel(node("a", 1));
    let _lease = registry.announce(Role::Comet, receiver).await;
    until(&mut watch, |nodes| names(nodes) == ["a"]).await;

    status.send_modify(|status| status.draining = true);

    until(&mut watch, |nodes| nodes[0].draining).await;
}

pub(crate) async fn counts_follow_with_the_renewals(registry: Announced) {
    let registry = (registry.brisk)();
    let mut watch = registry.watch(Role::Comet);
    let (status, receiver) = watch::channel(node("a", 1));
    let _lease = registry.announce(Role::Comet, receiver).await;
    until(&mut watch, |nodes| names(nodes) == ["a"]).await;

    status.send_modify(|status| status.conn_count = 8);

    until(&mut watch, |nodes| nodes[0].conn_count == 8).await;
}

pub(crate) async fn a_closed_lease_is_over_at_once(registry: Announced) {
    let (here, there) = ((registry.slow)(), (registry.slow)());
    let mut watch = there.watch(Role::Comet);
    let (_a_status, a) = watch::channel(node("a", 1));
    let (_b_status, b) = watch::channel(node("b", 2));
    let a = here.announce(Role::Comet, a).await;
    let _b = here.announce(Role::Comet, b).await;
    until(&mut watch, |nodes| names(nodes) == ["a", "b"]).await;

    a.close().await;

    until(&mut watch, |nodes| names(nodes) == ["b"]).await;
    let fresh = (registry.slow)();
    until(&mut fresh.watch(Role::Comet), |nodes| names(nodes) == ["b"]).await;
}

pub(crate) async fn a_lease_that_nobody_renews_ends(registry: Announced) {
    let (here, there) = ((registry.brisk)(), (registry.brisk)());
    let mut watch = there.watch(Role::Comet);
    let (_a_status, a) = watch::channel(node("a", 1));
    let (_b_status, b) = watch::channel(node("b", 2));
    let a = here.announce(Role::Comet, a).await;
    let _b = here.announce(Role::Comet, b).await;
    until(&mut watch, |nodes| names(nodes) == ["a", "b"]).await;

    drop(a);

    until(&mut watch, |nodes| names(nodes) == ["b"]).await;
}

pub(crate) async fn a_node_that_comes_back_elsewhere_is_noticed(registry: Announced) {
    let (here, there) = ((registry.brisk)(), (registry.brisk)());
    let mut watch = there.watch(Role::Comet);
    let (_status, receiver) = watch::channel(node("a", 1));
    let killed = here.announce(Role::Comet, receiver).await;
    until(&mut watch, |nodes| names(nodes) == ["a"]).await;
    drop(killed);
    let moved = NodeStatus {
        grpc: "grpc://elsewhere.internal:3109".to_owned(),
        ..node("a", 2)
    };

    let (_status, receiver) = watch::channel(moved.clone());
    let _lease = here.announce(Role::Comet, receiver).await;

    let nodes = until(&mut watch, |nodes| started(nodes, 2)).await;
    assert_eq!(*nodes, [moved]);
}

pub(crate) async fn an_emptied_registry_loses_nobody(mut registry: Announced) {
    let (here, there) = ((registry.brisk)(), (registry.brisk)());
    let mut watch = there.watch(Role::Comet);
    let mut leases = Vec::new();
    let mut statuses = Vec::new();
    for (started_ms, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let (status, receiver) = watch::channel(node(name, started_ms));
        leases.push(here.announce(Role::Comet, receiver).await);
        statuses.push(status);
    }
    until(&mut watch, |nodes| nodes.len() == 3).await;

    registry.engine.wipe().await;

    // Who comes new sees all of them again.
    let fresh = (registry.brisk)();
    let mut fresh_watch = fresh.watch(Role::Comet);
    let refilled = until(&mut fresh_watch, |nodes| nodes.len() == 3);
    tokio::select! {
        _ = refilled => {}
        _ = until(&mut watch, |nodes| nodes.len() < 3) => panic!("a node was lost"),
    }
}

pub(crate) async fn nodes_stay_while_the_registry_is_away(mut registry: Announced) {
    let (here, there) = ((registry.brisk)(), (registry.brisk)());
    let mut watch = there.watch(Role::Comet);
    let (status, receiver) = watch::channel(node("a", 1));
    let _lease = here.announce(Role::Comet, receiver).await;
    until(&mut watch, |nodes| names(nodes) == ["a"]).await;

    registry.engine.kill().await;
    let lost = until(&mut watch, <[_]>::is_empty);
    assert!(timeout(LEASE_MAX, lost).await.is_err(), "the node was lost");
    registry.engine.restart().await;

    status.send_modify(|status| status.draining = true);
    let mut was_lost = false;
    until(&mut watch, |nodes| {
        was_lost |= nodes.is_empty();
        nodes.iter().any(|node| node.draining)
    })
    .await;
    assert!(!was_lost);
}

pub(crate) async fn a_node_is_announced_when_the_registry_comes(mut registry: Announced) {
    registry.engine.kill().await;
    let there = (registry.brisk)();
    let mut watch = there.watch(Role::Comet);
    let (_status, receiver) = watch::channel(node("a", 1));
    let here = (registry.brisk)();
    let announce = timeout(PATIENCE, here.announce(Role::Comet, receiver));
    let _lease = announce.await.expect("an absent registry holds nobody up");
    assert_eq!(*watch.borrow(), None);

    registry.engine.restart().await;

    until(&mut watch, |nodes| names(nodes) == ["a"]).await;
}

pub(crate) async fn of_namesakes_the_one_that_started_last_counts(registry: Announced) {
    let (here, there) = ((registry.brisk)(), (registry.brisk)());
    let mut watch = there.watch(Role::Comet);
    let (_new_status, new) = watch::channel(node("a", 2));
    let (old_status, old) = watch::channel(NodeStatus {
        grpc: "grpc://old.internal:3109".to_owned(),
        ..node("a", 1)
    });
    let new = here.announce(Role::Comet, new).await;
    let old = there.announce(Role::Comet, old).await;

    until(&mut watch, |nodes| started(nodes, 2)).await;
    old_status.send_modify(|status| status.draining = true);
    let taken_over = until(&mut watch, |nodes| started(nodes, 1));
    assert!(timeout(LEASE_MAX / 2, taken_over).await.is_err());
    // Closing the old one takes nothing from the new one.
    old.close().await;
    let closed = until(&mut watch, <[_]>::is_empty);
    assert!(timeout(LEASE_MAX / 2, closed).await.is_err());

    new.close().await;
    until(&mut watch, <[_]>::is_empty).await;
}

pub(crate) async fn watches_end_with_their_registry(registry: Announced) {
    watching_ends((registry.brisk)()).await;
}

pub(crate) async fn known_nodes_are_seen(known: Known) {
    let (_status, receiver) = watch::channel(node("other", 1));
    let lease = known.registry.announce(Role::Comet, receiver).await;
    lease.close().await;

    let mut watch = known.registry.watch(Role::Comet);
    until(&mut watch, |nodes| names(nodes) == ["a", "b"]).await;
}

pub(crate) async fn watches_end_with_what_knows(known: Known) {
    watching_ends(known.registry).await;
}

async fn watching_ends(registry: Arc<dyn Registry>) {
    let mut watches = [Role::Comet, Role::Logic, Role::Comet].map(|role| registry.watch(role));

    drop(registry);

    for watch in &mut watches {
        let ended = async { while watch.changed().await.is_ok() {} };
        timeout(PATIENCE, ended).await.expect("the watch ends");
    }
}
