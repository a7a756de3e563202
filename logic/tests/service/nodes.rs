//! How other nodes reach logic: with the secret, with what time they have left,
//! one of several; and how it tells them whether it is well.

use std::time::Duration;

use halley_node::SharedRegistry;
use halley_node::config::Secret;
use halley_node::grpc::{
    self, Balanced, BalancedConfig, Client, ClientConfig, Target, Tried, Trust,
};
use halley_proto::goim::logic::logic_server::Logic as _;
use halley_proto::goim::logic::{ConnectReq, HeartbeatReq};
use halley_proto::remote::RemoteLogic;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Mood, Node, PATIENCE};

const CONNECTS: &str = "halley_logic_connects_total{outcome=\"accepted\"}";

fn client(trust: &Trust) -> Client {
    Client::new(trust, &ClientConfig::default())
}

fn login() -> Request<ConnectReq> {
    Request::new(ConnectReq {
        server: "comet-1".to_owned(),
        cookie: String::new(),
        token: "{}".into(),
    })
}

async fn health(node: &Node, trust: &Trust, service: &str) -> i32 {
    let connection = client(trust).connect(&node.addresses.grpc.to_string());
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(connection.unwrap()).check(request).await;
    answer.unwrap().into_inner().status
}

#[tokio::test]
async fn only_those_with_the_secret_are_served() {
    let trust = Trust::load(&grpc::Config {
        secret: Some(Secret::new("known-to-all-the-nodes")),
        ..grpc::Config::default()
    })
    .unwrap();
    let node = Node::start_with_trust(trust.clone());
    let connect = async |trust: &Trust| {
        let connection = client(trust).connect(&node.addresses.grpc.to_string());
        RemoteLogic::new(connection.unwrap()).connect(login()).await
    };

    connect(&trust).await.unwrap();
    let refused = connect(&Trust::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(node.metric(CONNECTS), 1);

    // Who asks whether it is well needs none.
    for service in ["", "goim.logic.Logic"] {
        let status = health(&node, &Trust::default(), service).await;
        assert_eq!(status, ServingStatus::Serving as i32);
    }
    node.readiness.set_draining();
    let status = health(&node, &Trust::default(), "").await;
    assert_eq!(status, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn a_call_ends_with_the_time_that_its_caller_has_left() {
    let node = Node::start(|_| {});
    *node.sessions.mood.lock() = Mood::Hang;
    let connection = client(&Trust::default()).connect(&node.addresses.grpc.to_string());
    let logic = RemoteLogic::new(connection.unwrap());
    let mut request = Request::new(HeartbeatReq::default());
    request.set_timeout(Duration::from_millis(50));

    let ended = timeout(PATIENCE, logic.heartbeat(request)).await;

    assert!(ended.expect("an end in time").is_err());
    let cancelled = "halley_logic_rpc_calls_total{method=\"heartbeat\",outcome=\"cancelled\"}";
    let counted = async {
        while node.metric(cancelled) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted)
        .await
        .expect("the call is given up here as well");
}

#[tokio::test]
async fn another_attempt_reaches_another_node() {
    let nodes = [Node::start(|_| {}), Node::start(|_| {})];
    let targets = nodes.iter().map(|node| Target {
        addr: node.addresses.grpc.to_string(),
        draining: false,
    });
    let (_sender, targets) = watch::channel(targets.collect());
    let balanced = Balanced::new(
        "logic",
        client(&Trust::default()),
        BalancedConfig::default(),
        targets,
        &mut SharedRegistry::default().lock(),
    );
    let logic = RemoteLogic::new(balanced);

    for _ in 0..16 {
        let tried = Tried::default();
        for _ in 0..2 {
            let mut request = login();
            request.extensions_mut().insert(tried.clone());
            logic.connect(request).await.unwrap();
        }
    }

    for node in &nodes {
        assert_eq!(node.metric(CONNECTS), 16);
    }
}
