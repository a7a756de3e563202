//! A Redis of its own for each registry.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::backoff::Backoff;
use halley_backend::redis::{Config, Redis};
use halley_backend::registry::{RedisRegistry, RedisRegistryConfig, Registry, Role};
use halley_engines::{Redis as Server, RedisCluster};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Announced, Engine};

#[async_trait]
impl Engine for Server {
    async fn wipe(&mut self) {
        self.flush_all().unwrap();
    }

    async fn kill(&mut self) {
        Server::kill(self);
    }

    async fn restart(&mut self) {
        Server::restart(self).unwrap();
    }
}

pub(crate) fn announced() -> Announced {
    let server = Server::start().unwrap();
    let url = server.url();
    let make = move |ttl| -> Arc<dyn Registry> { Arc::new(registry(&url, ttl)) };
    let slow = make.clone();
    Announced {
        engine: Box::new(server),
        brisk: Box::new(move || make(Duration::from_secs(2))),
        slow: Box::new(move || slow(Duration::from_hours(1))),
    }
}

/// A registry with a connection of its own, as in another process.
fn registry(url: &str, ttl: Duration) -> RedisRegistry {
    let backoff = Backoff {
        min: Duration::from_millis(10),
        max: Duration::from_millis(100),
    };
    let config = RedisRegistryConfig {
        interval: Duration::from_millis(20),
        ttl,
        ..RedisRegistryConfig::default()
    };
    RedisRegistry::new(connect(url), config, backoff).unwrap()
}

fn connect(url: &str) -> Redis {
    let config = Config {
        urls: [url].into_iter().collect(),
        reconnect: Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        },
        ..Config::default()
    };
    Redis::new(&config).unwrap()
}

#[tokio::test]
async fn entries_are_json_that_people_can_read() {
    let server = Server::start().unwrap();
    let registry = registry(&server.url(), Duration::from_secs(15));
    let (_status, status) = watch::channel(super::node("comet-1", 3));
    let lease = registry.announce(Role::Comet, status).await;

    let entry = async || -> Value {
        let redis = connect(&server.url());
        let mut get = redis::cmd("HGET");
        get.arg("halley:nodes:{comet}").arg("comet-1");
        let text: String = redis.query(&get).await.unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let written = entry().await;
    assert_eq!(
        written["node"],
        json!({
            "region": "north",
            "zone": "n1",
            "env": "test",
            "addrs": ["192.0.2.1", "192.0.2.2"],
            "grpc": "grpc://comet-1.internal:3109",
            "weight": 10,
            "conn_count": 7,
            "ip_count": 5,
            "draining": false,
            "started_ms": 3,
        })
    );
    assert!(written["expires_ms"].as_u64().unwrap() > 1_700_000_000_000);

    lease.close().await;
    assert_eq!(entry().await["node"], Value::Null);
}

#[tokio::test]
async fn entries_that_are_not_ours_do_no_harm() {
    let server = Server::start().unwrap();
    let redis = connect(&server.url());
    for (name, value) in [("a", "{"), ("b", "7"), ("c", "{}"), ("d", r#"{"node":[]}"#)] {
        let mut set = redis::cmd("HSET");
        set.arg("halley:nodes:{comet}").arg(name).arg(value);
        let _: u64 = redis.query(&set).await.unwrap();
    }
    let registry = registry(&server.url(), Duration::from_secs(15));
    let (_status, status) = watch::channel(super::node("d", 3));
    let _lease = registry.announce(Role::Comet, status).await;

    let mut watch = registry.watch(Role::Comet);
    super::until(&mut watch, |nodes| super::names(nodes) == ["d"]).await;
}

#[tokio::test]
async fn a_cluster_holds_the_nodes_as_well() {
    let cluster = RedisCluster::start().unwrap();
    let config = Config {
        urls: cluster.urls().into_iter().collect(),
        cluster: true,
        ..Config::default()
    };
    let redis = Redis::new(&config).unwrap();
    let config = RedisRegistryConfig::default();
    let registry = RedisRegistry::new(redis, config, Backoff::default()).unwrap();
    let mut leases = Vec::new();
    for role in [Role::Comet, Role::Logic] {
        let (status, receiver) = watch::channel(super::node("a", 1));
        leases.push((registry.announce(role, receiver).await, status));
        let mut watch = registry.watch(role);
        super::until(&mut watch, |nodes| super::names(nodes) == ["a"]).await;
    }
}
