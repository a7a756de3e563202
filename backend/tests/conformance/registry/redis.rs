//! A Redis of its own for each registry.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::backoff::Backoff;
use halley_backend::redis::{Config, Redis};
use halley_backend::registry::{RedisRegistry, RedisRegistryConfig, Registry};
use halley_engines::Redis as Server;

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
    let redis = Redis::new(&Config {
        urls: [url].into_iter().collect(),
        reconnect: backoff,
        ..Config::default()
    });
    let config = RedisRegistryConfig {
        interval: Duration::from_millis(20),
        ttl,
        ..RedisRegistryConfig::default()
    };
    RedisRegistry::new(redis.unwrap(), config, backoff).unwrap()
}
