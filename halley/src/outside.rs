//! What lies outside of the roles, as the configuration chooses it: the log
//! that carries pushes, the sessions, the registry of nodes.

use std::sync::Arc;

use anyhow::Context as _;
use halley_backend::dedup::{Dedup, MemoryDedup, RedisDedup};
use halley_backend::push_log::{
    KafkaPushLog, MemoryPushLog, PushLog, PushLogService, RemotePushLog,
};
use halley_backend::redis::Redis;
use halley_backend::registry::{self, Registry, Role as NodeRole, Snapshot};
use halley_backend::sessions::{MemorySessions, RedisSessions, Sessions};
use halley_node::SharedRegistry;
use halley_node::grpc::Client;
use halley_proto::halley::push_log::push_log_server::PushLogServer;
use tokio::sync::watch;

use crate::config::{Config, PushLogKind, SessionsKind};
use crate::kafka_metrics::KafkaMetrics;

/// See the [module](self). Nothing of it is connected yet, so that a process
/// starts whether or not the others are there.
pub(crate) struct Outside {
    pub(crate) nodes: Arc<dyn Registry>,
    redis: Option<Redis>,
    metrics: SharedRegistry,
}

/// Where logic puts pushes, and how jobs in other processes get them if they
/// cannot from there.
pub(crate) struct Entrance {
    pub(crate) push_log: Arc<dyn PushLog>,
    pub(crate) service: Option<PushLogServer<PushLogService>>,
}

impl Outside {
    pub(crate) fn new(config: &Config, metrics: &SharedRegistry) -> anyhow::Result<Self> {
        let redis = config
            .uses_redis()
            .then(|| Redis::new(&config.redis))
            .transpose()?;
        Ok(Self {
            nodes: registry::build(&config.registry, redis.clone())?,
            redis,
            metrics: metrics.clone(),
        })
    }

    /// The comets that the registry knows; `None` where it knows no others than
    /// this process.
    pub(crate) fn comets(&self, config: &Config) -> Option<watch::Receiver<Snapshot>> {
        (!config.is_alone()).then(|| self.nodes.watch(NodeRole::Comet))
    }

    /// The log where logic and job are in one process.
    pub(crate) fn push_log(&self, config: &Config) -> anyhow::Result<Arc<dyn PushLog>> {
        Ok(match config.push_log.kind {
            PushLogKind::Memory => Arc::new(MemoryPushLog::new(config.push_log.memory.clone())),
            PushLogKind::Kafka => self.kafka(config)?,
        })
    }

    /// The log of a process with logic alone.
    pub(crate) fn entrance(&self, config: &Config) -> anyhow::Result<Entrance> {
        let push_log = self.push_log(config)?;
        let service = match config.push_log.kind {
            PushLogKind::Memory => {
                let service = config.push_log.service.clone();
                Some(PushLogService::new(Arc::clone(&push_log), service).into_server())
            }
            PushLogKind::Kafka => None,
        };
        Ok(Entrance { push_log, service })
    }

    /// The log of a process with a job alone.
    pub(crate) fn exit(
        &self,
        config: &Config,
        client: &Client,
    ) -> anyhow::Result<Arc<dyn PushLog>> {
        Ok(match config.push_log.kind {
            PushLogKind::Memory => {
                let logs = crate::logics::push_logs(&config.registry, client)?;
                Arc::new(RemotePushLog::new(logs, config.push_log.remote.clone()))
            }
            PushLogKind::Kafka => self.kafka(config)?,
        })
    }

    pub(crate) fn sessions(&self, config: &Config) -> anyhow::Result<Arc<dyn Sessions>> {
        Ok(match config.sessions.kind {
            SessionsKind::Memory => Arc::new(MemorySessions::new(config.sessions.memory.clone())),
            SessionsKind::Redis => Arc::new(RedisSessions::new(
                self.redis()?,
                &config.sessions.redis,
                self.comets(config),
            )),
        })
    }

    /// Where the sessions are, answers to repeated pushes are remembered.
    pub(crate) fn dedup(&self, config: &Config) -> anyhow::Result<Arc<dyn Dedup>> {
        Ok(match config.sessions.kind {
            SessionsKind::Memory => Arc::new(MemoryDedup::new(config.dedup.clone())),
            SessionsKind::Redis => Arc::new(RedisDedup::new(self.redis()?, config.dedup.clone())),
        })
    }

    fn redis(&self) -> anyhow::Result<Redis> {
        self.redis.clone().context("redis.urls is empty")
    }

    fn kafka(&self, config: &Config) -> anyhow::Result<Arc<dyn PushLog>> {
        let log = KafkaPushLog::new(config.kafka.clone(), config.push_log.kafka.clone())?;
        let log = Arc::new(log);
        KafkaMetrics::register(&log, &mut self.metrics.lock());
        Ok(log)
    }
}
