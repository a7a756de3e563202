use futures_util::StreamExt as _;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::Health as _;

use super::Health;
use crate::Readiness;
use crate::config::Secret;
use crate::grpc::testing::Node;
use crate::grpc::{Client, ClientConfig, Config, Trust};

fn ask(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest {
        service: service.to_owned(),
    })
}

fn health(readiness: &Readiness) -> Health {
    Health {
        readiness: readiness.clone(),
        services: &["test.Node"],
    }
}

async fn status(health: &Health, service: &str) -> Result<ServingStatus, Code> {
    match health.check(ask(service)).await {
        Ok(response) => Ok(response.into_inner().status()),
        Err(status) => Err(status.code()),
    }
}

#[tokio::test]
async fn it_says_what_readiness_says() {
    let readiness = Readiness::default();
    let latch = readiness.latch("part");
    let health = health(&readiness);

    assert_eq!(status(&health, "").await, Ok(ServingStatus::NotServing));
    latch.ready();
    assert_eq!(status(&health, "").await, Ok(ServingStatus::Serving));
    assert_eq!(
        status(&health, "test.Node").await,
        Ok(ServingStatus::Serving)
    );
    assert_eq!(status(&health, "test.Other").await, Err(Code::NotFound));
    readiness.set_draining();
    assert_eq!(status(&health, "").await, Ok(ServingStatus::NotServing));
}

#[tokio::test]
async fn whoever_watches_is_told_of_changes_up_to_the_last() {
    let readiness = Readiness::default();
    let latch = readiness.latch("part");
    let health = health(&readiness);
    let mut told = health.watch(ask("")).await.unwrap().into_inner();
    let mut next = async || told.next().await.map(|answer| answer.unwrap().status());

    assert_eq!(next().await, Some(ServingStatus::NotServing));
    latch.ready();
    assert_eq!(next().await, Some(ServingStatus::Serving));
    readiness.set_draining();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn an_orchestrator_needs_no_secret() {
    let trust = Trust::load(&Config {
        secret: Some(Secret::new("xxxxxxxxxxxxxxxx")),
        ..Config::default()
    })
    .unwrap();
    let node = Node::start(&trust).await;
    let client = Client::new(&Trust::default(), &ClientConfig::default());

    let mut health = HealthClient::new(client.connect(&node.addr).unwrap());
    let answer = health.check(ask("")).await.unwrap().into_inner();

    assert_eq!(answer.status(), ServingStatus::Serving);
}
