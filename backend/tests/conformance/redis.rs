//! What runs on a Redis or a Redis Cluster of its own.

use std::sync::Arc;

use halley_backend::dedup::{Dedup, RedisDedup};
use halley_backend::redis::{Config, Redis};
use halley_backend::sessions::{RedisSessions, RedisSessionsConfig, Sessions};

use super::dedup;

/// A Redis that is emptied for every case.
enum Engine {
    Server(halley_engines::Redis),
    Cluster(halley_engines::RedisCluster),
}

impl Engine {
    fn server() -> Self {
        Self::Server(halley_engines::Redis::start().unwrap())
    }

    fn cluster() -> Self {
        Self::Cluster(halley_engines::RedisCluster::start().unwrap())
    }

    fn fresh(&self) -> Redis {
        let (urls, cluster) = match self {
            Self::Server(server) => {
                server.flush_all().unwrap();
                (vec![server.url()], false)
            }
            Self::Cluster(cluster) => {
                cluster.flush_all().unwrap();
                (cluster.urls(), true)
            }
        };
        let config = Config {
            urls: urls.into_iter().collect(),
            cluster,
            ..Config::default()
        };
        Redis::new(&config).unwrap()
    }
}

/// Sessions in Redis.
pub(crate) struct SessionsEngine(Engine);

/// An idempotency window in Redis.
pub(crate) struct DedupEngine(Engine);

impl SessionsEngine {
    pub(crate) fn server() -> Self {
        Self(Engine::server())
    }

    pub(crate) fn cluster() -> Self {
        Self(Engine::cluster())
    }

    pub(crate) fn fresh(&self) -> Arc<dyn Sessions> {
        let config = RedisSessionsConfig::default();
        Arc::new(RedisSessions::new(self.0.fresh(), &config, None))
    }
}

impl DedupEngine {
    pub(crate) fn server() -> Self {
        Self(Engine::server())
    }

    pub(crate) fn cluster() -> Self {
        Self(Engine::cluster())
    }

    pub(crate) fn fresh(&self) -> Arc<dyn Dedup> {
        Arc::new(RedisDedup::new(self.0.fresh(), dedup::config()))
    }
}
