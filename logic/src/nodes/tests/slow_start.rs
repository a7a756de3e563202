use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

const SLOW_START: Duration = Duration::from_secs(30);

/// A node that started that long ago.
fn started(hostname: &str, ago: Duration) -> NodeStatus {
    let started = (SystemTime::now() - ago).duration_since(UNIX_EPOCH);
    NodeStatus {
        started_ms: i64::try_from(started.unwrap().as_millis()).unwrap(),
        ..status(hostname, "", 10, 0)
    }
}

fn nodes() -> Nodes {
    let config = NodesConfig {
        slow_start: SLOW_START,
        ..config()
    };
    Nodes::new(config, None)
}

/// How many of a hundred clients are sent to `node` first.
fn share(nodes: &Nodes, node: &str) -> usize {
    let firsts = (0..100).map(|_| nodes.weighted("", "x").nodes[0].clone());
    firsts.filter(|first| first == node).count()
}

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_its_clients_gradually() {
    let nodes = nodes();
    let busy = NodeStatus {
        conn_count: 1_000_000,
        ..started("a", SLOW_START)
    };
    nodes.observe(busy);
    nodes.observe(started("b", Duration::ZERO));

    // By goim's rule alone it would get every one of them.
    assert!(share(&nodes, "ip_b") <= 1);
    for percent in [10, 50, 90] {
        let nodes = self::nodes();
        nodes.observe(NodeStatus {
            conn_count: 1_000_000,
            ..started("a", SLOW_START)
        });
        nodes.observe(started("b", SLOW_START * percent / 100));
        let got = share(&nodes, "ip_b");
        assert!(got.abs_diff(percent as usize) <= 2, "{percent}: {got}");
    }
    nodes.observe(started("b", SLOW_START));
    assert_eq!(share(&nodes, "ip_b"), 100);
}

#[tokio::test(start_paused = true)]
async fn a_held_back_node_is_named_after_the_others() {
    let nodes = nodes();
    nodes.observe(started("new", Duration::ZERO));
    nodes.observe(started("old", SLOW_START));

    assert_eq!(nodes.weighted("", "x").nodes, ["ip_old", "ip_new"]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_share_at_once() {
    let nodes = nodes();
    nodes.observe(started("a", Duration::ZERO));
    assert_eq!(share(&nodes, "ip_a"), 100);

    let nodes = self::nodes();
    for name in ["a", "b"] {
        nodes.observe(started(name, Duration::from_secs(1)));
    }
    assert!(share(&nodes, "ip_a").abs_diff(50) <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_holds_nobody_back_for_long() {
    let nodes = nodes();
    let hour = Duration::from_hours(1);
    let mut ahead = started("ahead", Duration::ZERO);
    ahead.started_ms += i64::try_from(hour.as_millis()).unwrap();
    nodes.observe(ahead.clone());
    nodes.observe(started("a", hour));
    assert_eq!(share(&nodes, "ip_ahead"), 0);

    tokio::time::advance(SLOW_START).await;
    nodes.observe(ahead);
    assert!(share(&nodes, "ip_ahead") >= 50);
}

#[tokio::test(start_paused = true)]
async fn without_a_start_there_is_no_slow_start() {
    let nodes = nodes();
    nodes.observe(status("a", "", 10, 1_000));
    nodes.observe(status("b", "", 10, 0));

    assert_eq!(share(&nodes, "ip_b"), 100);
}
