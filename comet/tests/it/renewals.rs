//! Bindings are renewed, and all of them when logic has lost its sessions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{Node, PATIENCE, eventually};

const CLIENTS: usize = 40;

/// A node with clients whose bindings are renewed only when all are.
async fn node_with_clients() -> (Node, Vec<crate::support::Client>) {
    let node = Node::start_with(|config| config.logic.reregister_per_second = 20).await;
    node.logic.state.lock().epoch = Some(1);
    let clients = node.crowd(CLIENTS, "").await;
    node.exchanged().await;
    (node, clients)
}

impl Node {
    /// Waits for an exchange with logic that begins after now.
    async fn exchanged(&self) {
        let exchanges = || self.metric("logic_calls_total", &["\"ok\"", "\"renew_online\""]);
        let before = exchanges();
        eventually("an exchange", || exchanges() >= before + 2).await;
    }

    fn renewed(&self) -> HashSet<u64> {
        let state = self.logic.state.lock();
        state.heartbeats.iter().map(|(_, number)| *number).collect()
    }

    fn renewed_since(&self, since: Instant) -> HashSet<u64> {
        let state = self.logic.state.lock();
        let late = state.heartbeats.iter().filter(|(at, _)| *at >= since);
        late.map(|(_, number)| *number).collect()
    }
}

#[tokio::test]
async fn another_epoch_has_every_connection_bound_again_at_a_bounded_pace() {
    let (node, _clients) = node_with_clients().await;
    assert!(node.renewed().is_empty(), "the first epoch is no news");

    node.logic.state.lock().epoch = Some(2);
    eventually("all are renewed", || node.renewed().len() == CLIENTS).await;

    let state = node.logic.state.lock();
    let bound: HashSet<_> = state.bound.values().copied().collect();
    let (first, last) = (state.heartbeats[0].0, state.heartbeats[CLIENTS - 1].0);
    drop(state);
    assert_eq!(node.renewed(), bound);
    // Forty at twenty a second, looked at once a second.
    assert!(
        last - first >= Duration::from_millis(900),
        "{:?}",
        last - first
    );
    assert_eq!(node.metric("reregistered_total", &[]), CLIENTS as u64);
}

#[tokio::test]
async fn an_epoch_that_changes_again_starts_over() {
    let (node, _clients) = node_with_clients().await;

    node.logic.state.lock().epoch = Some(2);
    eventually("some are renewed", || !node.renewed().is_empty()).await;
    let again = Instant::now();
    node.logic.state.lock().epoch = Some(3);

    eventually("all are renewed again", || {
        node.renewed_since(again).len() == CLIENTS
    })
    .await;
    assert_eq!(node.metric("reregistered_total", &[]), 2 * CLIENTS as u64);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again_soon() {
    let (node, _clients) = node_with_clients().await;
    node.logic.state.lock().heartbeats_failing = 10;

    node.logic.state.lock().epoch = Some(2);

    eventually("all are renewed", || node.renewed().len() == CLIENTS).await;
    assert_eq!(node.metric("renewals_failed_total", &[]), 10);
}

#[tokio::test]
async fn a_renewal_that_comes_after_the_end_binds_nothing_for_good() {
    let node = Node::start_with(|config| config.logic.deadline = PATIENCE).await;
    node.logic.state.lock().epoch = Some(1);
    let client = node.log_in("a", "").await;
    node.exchanged().await;
    let gate = Arc::new(Semaphore::new(0));
    node.logic.state.lock().heartbeat_gate = Some(Arc::clone(&gate));
    node.logic.state.lock().epoch = Some(2);
    eventually("it is renewed", || node.logic.state.lock().renewing == 1).await;
    drop(client);
    let disconnects = || node.logic.state.lock().disconnects.len();
    eventually("its end is told", || disconnects() == 1).await;
    assert!(node.logic.state.lock().bound.is_empty());

    gate.add_permits(1);

    eventually("its end is told again", || disconnects() == 2).await;
    assert_eq!(node.renewed().len(), 1);
    assert!(node.logic.state.lock().bound.is_empty());
}

#[tokio::test]
async fn a_renewal_under_way_does_not_hold_up_the_end() {
    let (node, clients) = node_with_clients().await;
    node.logic.state.lock().epoch = Some(2);
    eventually("some are renewed", || !node.renewed().is_empty()).await;

    node.drain.cancel();
    drop(clients);

    let outcome = crate::support::soon("the node ends", node.done).await;
    outcome.expect("no panic").expect("no error");
}
