use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tonic::Code;

use super::{Balanced, BalancedConfig, Target, Tried};
use crate::SharedRegistry;
use crate::grpc::testing::{Node, PATIENCE, begin, begin_with, call, end, request};
use crate::grpc::{Client, ClientConfig, Trust};

/// Enough calls that two nodes which share them both get one.
const MANY: usize = 64;

struct Setup {
    targets: watch::Sender<Vec<Target>>,
    balanced: Balanced,
    registry: SharedRegistry,
}

impl Setup {
    fn new(config: BalancedConfig, targets: Vec<Target>) -> Self {
        let (targets, receiver) = watch::channel(targets);
        let registry = SharedRegistry::default();
        let client = Client::new(&Trust::default(), &ClientConfig::default());
        let balanced = Balanced::new("test", client, config, receiver, &mut registry.lock());
        Self {
            targets,
            balanced,
            registry,
        }
    }

    fn of(nodes: &[&Node]) -> Self {
        Self::new(BalancedConfig::default(), targets(nodes))
    }

    async fn call(&self) -> Result<Code, Code> {
        call(self.balanced.clone())
            .await
            .map_err(|status| status.code())
    }

    async fn call_often(&self) {
        for _ in 0..MANY {
            assert_eq!(self.call().await, Ok(Code::Ok));
        }
    }

    fn shows(&self, metric: &str) -> bool {
        crate::encode(&self.registry)
            .lines()
            .any(|line| line == metric)
    }
}

fn targets(nodes: &[&Node]) -> Vec<Target> {
    nodes.iter().map(|node| target(node, false)).collect()
}

fn target(node: &Node, draining: bool) -> Target {
    Target {
        addr: node.addr.clone(),
        draining,
    }
}

async fn node() -> Node {
    Node::start(&Trust::default()).await
}

#[tokio::test]
async fn the_less_busy_node_is_asked() {
    let (busy, idle) = (node().await, node().await);
    let setup = Setup::of(&[&busy]);
    busy.is_slow.send_replace(true);
    let under_way = begin(setup.balanced.clone()).await.unwrap();
    setup.targets.send_replace(targets(&[&busy, &idle]));

    setup.call_often().await;
    assert_eq!((busy.calls(), idle.calls()), (1, MANY));

    // The call counts until its answer has ended.
    busy.is_slow.send_replace(false);
    assert_eq!(end(under_way).await, Code::Ok);
    setup.call_often().await;
    assert!(busy.calls() > 1);
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_counts_no_longer() {
    let (one, other) = (node().await, node().await);
    let setup = Setup::of(&[&one]);
    one.is_slow.send_replace(true);
    drop(begin(setup.balanced.clone()).await.unwrap());
    one.is_slow.send_replace(false);
    setup.targets.send_replace(targets(&[&one, &other]));

    setup.call_often().await;

    assert!(one.calls() > 1);
}

#[tokio::test]
async fn a_draining_node_is_the_last_choice() {
    let (draining, other) = (node().await, node().await);
    let list = vec![target(&draining, true), target(&other, false)];
    let setup = Setup::new(BalancedConfig::default(), list);

    setup.call_often().await;
    assert_eq!((draining.calls(), other.calls()), (0, MANY));
    assert!(setup.shows(r#"halley_grpc_nodes{service="test",state="draining"} 1"#));

    setup.targets.send_replace(vec![target(&draining, true)]);
    setup.call_often().await;
    assert_eq!(draining.calls(), MANY);
}

#[tokio::test]
async fn a_node_that_fails_is_left_alone_and_then_tried_with_one_call() {
    let (failing, other) = (node().await, node().await);
    let config = BalancedConfig {
        failures_max: 2,
        open_min: Duration::from_millis(50),
        open_max: Duration::from_millis(50),
        ..BalancedConfig::default()
    };
    let setup = Setup::new(config, targets(&[&failing, &other]));
    failing.set_away(true);

    let mut failed = 0;
    while failed < 2 {
        match setup.call().await {
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, Code::Unavailable);
                failed += 1;
            }
        }
    }
    assert!(setup.shows(r#"halley_grpc_breaker_opened_total{service="test"} 1"#));
    assert!(setup.shows(r#"halley_grpc_nodes{service="test",state="failing"} 1"#));

    failing.set_away(false);
    let works_again = async {
        while failing.calls() == 0 {
            // Whether the probe still finds the node away is up to the clock.
            let _ = setup.call().await;
        }
    };
    tokio::time::timeout(PATIENCE, works_again)
        .await
        .expect("a probe in time");
    assert!(setup.shows(r#"halley_grpc_nodes{service="test",state="ready"} 2"#));
}

#[tokio::test]
async fn a_node_that_cannot_do_its_work_is_asked_once_in_a_while() {
    let (unable, other) = (node().await, node().await);
    let setup = Setup::of(&[&unable, &other]);
    unable.is_unable.store(true, Ordering::Relaxed);
    let started = Instant::now();

    for _ in 0..MANY {
        setup.call().await.expect("an answer");
    }

    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(unable.calls() <= 1 + seconds, "{}", unable.calls());

    // Those that are all unable are all asked.
    other.is_unable.store(true, Ordering::Relaxed);
    let before = (unable.calls(), other.calls());
    for _ in 0..MANY {
        assert_eq!(setup.call().await, Ok(Code::Unavailable));
    }
    assert!(unable.calls() > before.0 && other.calls() > before.1);
}

#[tokio::test]
async fn when_all_are_left_alone_the_answer_comes_at_once() {
    let node = node().await;
    let config = BalancedConfig {
        failures_max: 1,
        open_min: PATIENCE,
        open_max: PATIENCE,
        ..BalancedConfig::default()
    };
    let setup = Setup::new(config, targets(&[&node]));
    node.set_away(true);
    assert_eq!(setup.call().await, Err(Code::Unavailable));
    node.set_away(false);

    assert_eq!(setup.call().await, Err(Code::Unavailable));
    assert_eq!(node.calls(), 0);
}

#[tokio::test]
async fn a_call_that_is_given_up_late_is_a_failure() {
    let node = node().await;
    let config = BalancedConfig {
        failures_max: 1,
        open_min: PATIENCE,
        open_max: PATIENCE,
        abandoned_after: Duration::ZERO,
    };
    let setup = Setup::new(config, targets(&[&node]));
    node.is_silent.send_replace(true);

    let given_up = async {
        while node.calls() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = setup.call() => panic!("no answer"),
        () = given_up => {}
    }

    assert_eq!(setup.call().await, Err(Code::Unavailable));
}

#[tokio::test]
async fn a_node_that_is_taken_off_the_list_finishes_its_calls() {
    let (leaving, staying) = (node().await, node().await);
    let setup = Setup::of(&[&leaving]);
    leaving.is_slow.send_replace(true);
    let under_way = begin(setup.balanced.clone()).await.unwrap();

    setup.targets.send_replace(targets(&[&staying]));
    setup.call_often().await;
    assert_eq!((leaving.calls(), staying.calls()), (1, MANY));

    leaving.is_slow.send_replace(false);
    assert_eq!(end(under_way).await, Code::Ok);
}

#[tokio::test]
async fn the_last_list_stays_when_nobody_can_change_it_any_more() {
    let (one, other) = (node().await, node().await);
    let Setup {
        targets: sender,
        balanced,
        ..
    } = Setup::of(&[&one]);
    sender.send_replace(targets(&[&other]));
    drop(sender);

    for _ in 0..2 {
        assert_eq!(call(balanced.clone()).await.unwrap(), Code::Ok);
    }

    assert_eq!((one.calls(), other.calls()), (0, 2));
}

#[tokio::test]
async fn another_attempt_goes_to_another_node() {
    let (one, other) = (node().await, node().await);
    let setup = Setup::of(&[&one, &other]);

    for _ in 0..MANY {
        let tried = Tried::default();
        for _ in 0..2 {
            let mut request = request();
            request.extensions_mut().insert(tried.clone());
            let answer = begin_with(setup.balanced.clone(), request).await.unwrap();
            assert_eq!(end(answer).await, Code::Ok);
        }
    }

    assert_eq!((one.calls(), other.calls()), (MANY, MANY));
}

#[tokio::test]
async fn without_nodes_the_service_is_unavailable() {
    let unusable = Target {
        addr: "nowhere".to_owned(),
        draining: false,
    };
    let setup = Setup::new(BalancedConfig::default(), vec![unusable]);

    assert_eq!(setup.call().await, Err(Code::Unavailable));
}
