use super::*;

mod listed;
mod slow_start;

fn config() -> NodesConfig {
    NodesConfig {
        default_domain: "conn.example.org".to_owned(),
        host_domain: ".example.org".to_owned(),
        regions: [
            ("bj", vec!["10.0.0.0/8"]),
            ("sh", vec!["10.1.0.0/16", "2001:db8::/32"]),
        ]
        .into_iter()
        .map(|(region, networks)| {
            let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
            (region.to_owned(), networks)
        })
        .collect(),
        ..NodesConfig::default()
    }
}

fn status(hostname: &str, region: &str, weight: i64, conn_count: i64) -> NodeStatus {
    NodeStatus {
        hostname: hostname.to_owned(),
        region: region.to_owned(),
        addrs: vec![format!("ip_{hostname}")],
        weight,
        conn_count,
        ip_count: 10,
        ..NodeStatus::default()
    }
}

#[tokio::test]
async fn without_nodes_the_domain_is_told() {
    let nodes = Nodes::new(config(), None);

    assert_eq!(nodes.weighted("web", "").nodes, ["conn.example.org"]);
    assert_eq!(nodes.weighted("", "").nodes, ["conn.example.org"]);
    assert!(nodes.instances().is_empty());
    assert_eq!(nodes.totals(), Totals::default());
}

#[tokio::test]
async fn the_advice_is_that_of_the_config() {
    let reply = Nodes::new(config(), None).weighted("", "");

    assert_eq!(reply.domain, "conn.example.org");
    assert_eq!(
        (reply.tcp_port, reply.ws_port, reply.wss_port),
        (3101, 3102, 3103)
    );
    assert_eq!((reply.heartbeat, reply.heartbeat_max), (240, 2));
    let backoff = reply.backoff.unwrap();
    assert_eq!((backoff.max_delay, backoff.base_delay), (300, 3));
}

#[tokio::test]
async fn web_clients_get_names_and_others_addresses() {
    let nodes = Nodes::new(config(), None);
    nodes.observe(status("a", "", 10, 0));

    assert_eq!(nodes.weighted("web", "").nodes, ["a.example.org"]);
    assert_eq!(nodes.weighted("ios", "").nodes, ["ip_a"]);
}

#[tokio::test]
async fn a_node_without_addresses_is_found_by_its_name_only() {
    let nodes = Nodes::new(config(), None);
    nodes.observe(NodeStatus {
        addrs: Vec::new(),
        ..status("a", "", 10, 0)
    });
    assert_eq!(nodes.weighted("ios", "").nodes, ["conn.example.org"]);

    for at in 0..ANSWER_NODES_MAX {
        nodes.observe(status(&format!("b{at}"), "", 10, 1_000_000));
    }

    assert_eq!(nodes.weighted("ios", "").nodes.len(), ANSWER_NODES_MAX);
    assert_eq!(nodes.weighted("web", "").nodes[0], "a.example.org");
}

#[tokio::test]
async fn the_order_is_that_of_goim() {
    // goim's own example: 182862, 216502 (with the gain) and 156442.
    let nodes = Nodes::new(config(), None);
    nodes.observe(status("01", "bj", 10, 240_590));
    nodes.observe(status("02", "sh", 10, 375_420));
    nodes.observe(status("03", "gz", 10, 293_430));

    assert_eq!(nodes.weighted("", "sh").nodes, ["ip_02", "ip_01", "ip_03"]);
    assert_eq!(nodes.weighted("", "").nodes, ["ip_01", "ip_03", "ip_02"]);
}

#[tokio::test]
async fn a_chosen_node_counts_the_client_until_it_reports() {
    let nodes = Nodes::new(config(), None);
    nodes.observe(status("a", "", 1, 0));
    nodes.observe(status("b", "", 1, 0));

    let firsts: Vec<_> = (0..8)
        .map(|_| nodes.weighted("", "x").nodes[0].clone())
        .collect();
    let of_a = firsts.iter().filter(|node| *node == "ip_a").count();
    assert_eq!(of_a, 4, "{firsts:?}");
    assert_eq!(nodes.totals().connections, 0);

    nodes.observe(status("a", "", 1, 100));
    assert_eq!(nodes.weighted("", "x").nodes[0], "ip_b");
    assert_eq!(nodes.totals().connections, 100);
}

#[tokio::test]
async fn five_nodes_are_enough() {
    let nodes = Nodes::new(config(), None);
    for at in 0..7 {
        nodes.observe(status(&format!("n{at}"), "", 10, 0));
    }

    assert_eq!(nodes.weighted("web", "").nodes.len(), 5);
}

#[tokio::test]
async fn draining_and_weightless_nodes_get_no_clients() {
    let nodes = Nodes::new(config(), None);
    nodes.observe(status("idle", "", 0, 5));
    nodes.observe(NodeStatus {
        draining: true,
        ..status("leaving", "", 10, 7)
    });
    nodes.observe(status("up", "", 10, 9));

    assert_eq!(nodes.weighted("web", "").nodes, ["up.example.org"]);
    let known: Vec<_> = nodes
        .instances()
        .into_iter()
        .map(|i| i.status.hostname)
        .collect();
    assert_eq!(known, ["idle", "up"]);
    assert_eq!(
        nodes.totals(),
        Totals {
            connections: 21,
            ips: 30
        }
    );
}

#[tokio::test(start_paused = true)]
async fn silent_nodes_are_forgotten_however_many() {
    let nodes = Nodes::new(config(), None);
    for at in 0..10 {
        nodes.observe(status(&format!("n{at}"), "", 10, 1));
    }
    tokio::time::advance(config().expiry).await;
    nodes.observe(status("n3", "", 10, 1));
    assert_eq!(nodes.instances().len(), 10);

    tokio::time::advance(Duration::from_millis(1)).await;

    assert_eq!(nodes.weighted("web", "").nodes, ["n3.example.org"]);
    assert_eq!(nodes.instances().len(), 1);
    assert_eq!(nodes.totals().connections, 1);
}

#[tokio::test]
async fn a_full_table_keeps_what_it_knows() {
    let nodes = Nodes::new(
        NodesConfig {
            nodes_max: 1,
            ..config()
        },
        None,
    );
    nodes.observe(status("a", "", 10, 1));
    nodes.observe(status("b", "", 10, 1));
    nodes.observe(status("a", "", 10, 2));
    nodes.observe(status("", "", 10, 2));

    assert_eq!(nodes.instances().len(), 1);
    assert_eq!(nodes.totals().connections, 2);
}

#[tokio::test]
async fn nonsense_counts_do_no_harm() {
    let nodes = Nodes::new(config(), None);
    nodes.observe(status("a", "", i64::MAX, i64::MAX));
    nodes.observe(status("b", "", i64::MIN, i64::MIN));
    nodes.observe(status("c", "", i64::MAX, i64::MAX));

    assert_eq!(nodes.weighted("web", "").nodes.len(), 2);
    assert_eq!(nodes.totals().connections, i64::MAX);
}

#[tokio::test]
async fn the_most_specific_network_names_the_region() {
    let nodes = Nodes::new(config(), None);
    let region = |address: &str| nodes.region_of(Some(address.parse().unwrap()));

    assert_eq!(region("10.2.3.4"), "bj");
    assert_eq!(region("10.1.3.4"), "sh");
    assert_eq!(region("::ffff:10.1.3.4"), "sh");
    assert_eq!(region("2001:db8::1"), "sh");
    assert_eq!(region("9.9.9.9"), "");
    assert_eq!(nodes.region_of(None), "");
}
