use std::sync::Arc;

use super::*;

/// Nodes whose registry lists `statuses`.
fn listing(statuses: &[NodeStatus]) -> (watch::Sender<Snapshot>, Nodes) {
    let (sender, listed) = watch::channel(Some(statuses.into()));
    (sender, Nodes::new(config(), Some(listed)))
}

fn bare(hostname: &str) -> NodeStatus {
    NodeStatus {
        hostname: hostname.to_owned(),
        grpc: format!("grpc://{hostname}:3109"),
        ..NodeStatus::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_is_the_list_of_the_registry() {
    let (registry, nodes) = listing(&[status("a", "", 10, 1), status("b", "", 10, 2)]);
    assert_eq!(nodes.totals().connections, 3);
    assert_eq!(nodes.weighted("web", "").nodes.len(), 2);

    registry.send_replace(Some([status("b", "", 10, 5)].into()));
    assert_eq!(nodes.totals().connections, 5);
    assert_eq!(nodes.weighted("web", "").nodes, ["b.example.org"]);

    // Who is listed need not say anything.
    tokio::time::advance(config().expiry * 2).await;
    assert_eq!(nodes.instances().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn clients_on_their_way_count_until_the_node_tells_its_own() {
    let (registry, nodes) = listing(&[status("a", "", 1, 10), status("b", "", 1, 10)]);
    let send = |clients: usize| -> usize {
        let firsts = (0..clients).map(|_| nodes.weighted("", "x").nodes[0].clone());
        firsts.filter(|first| first == "ip_a").count()
    };
    assert!(send(10).abs_diff(5) <= 1);

    // What the others have changes nothing in that.
    let unchanged = [status("a", "", 1, 10), status("b", "", 1, 10)];
    registry.send_replace(Some(unchanged.into()));
    assert!(send(10).abs_diff(5) <= 1);

    // Those of `a` have come, and more; those of `b` have not and never will.
    registry.send_replace(Some(
        [status("a", "", 1, 25), status("b", "", 1, 10)].into(),
    ));
    assert_eq!(send(1), 0);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(send(10), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_only_a_name_tells_the_rest_itself() {
    let (registry, nodes) = listing(&[bare("a"), status("b", "", 10, 1)]);
    assert_eq!(nodes.weighted("web", "").nodes, ["b.example.org"]);

    for hostname in ["a", "b", "x"] {
        nodes.observe(status(hostname, "", 10, 7));
    }
    assert_eq!(nodes.totals().connections, 8);
    assert_eq!(nodes.weighted("web", "").nodes.len(), 2);
    let known = nodes.instances();
    assert_eq!(known[0].status.grpc, "grpc://a:3109");

    // The list is read again, with nothing new in it.
    registry.send_replace(Some([bare("a")].into()));
    assert_eq!(nodes.totals().connections, 7);

    tokio::time::advance(config().expiry + Duration::from_millis(1)).await;
    assert_eq!(nodes.totals().connections, 0);
    assert_eq!(nodes.weighted("web", "").nodes, ["conn.example.org"]);
}

#[tokio::test(start_paused = true)]
async fn whether_a_comet_lives_is_a_matter_of_the_list() {
    let (registry, nodes) = listing(&[]);
    assert!(nodes.is_live("a"), "an empty list says nothing");

    let leaving = NodeStatus {
        draining: true,
        ..status("a", "", 10, 1)
    };
    registry.send_replace(Some([leaving].into()));
    assert!(nodes.is_live("a"));
    assert!(!nodes.is_live("b"));

    nodes.called("b");
    assert!(nodes.is_live("b"));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(!nodes.is_live("b"));

    assert!(Nodes::new(config(), None).is_live("b"));
}

#[tokio::test]
async fn a_list_longer_than_the_table_is_cut() {
    let (_registry, listed) = watch::channel(Some(Arc::from([
        status("a", "", 10, 1),
        status("b", "", 10, 1),
    ])));
    let nodes = Nodes::new(
        NodesConfig {
            nodes_max: 1,
            ..config()
        },
        Some(listed),
    );

    assert_eq!(nodes.instances().len(), 1);
    assert!(nodes.is_live("b"));
}
