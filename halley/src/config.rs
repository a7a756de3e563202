//! The configuration of the whole process.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use halley_backend::dedup::DedupConfig;
use halley_backend::push_log::{KafkaConfig, MemoryConfig, RemoteConfig, ServiceConfig};
use halley_backend::redis::Redis;
use halley_backend::registry::{FixedComet, RegistryConfig, RegistryKind};
use halley_backend::sessions::{MemorySessionsConfig, RedisSessionsConfig};
use halley_backend::{kafka, redis};
use halley_comet::Comet;
use halley_logic::Logic;
use halley_logic::config::{ConfigError, SinkMode};
use halley_node::grpc::{self, BalancedConfig, Client, ClientConfig, Trust};
use halley_node::{admin, config::Loader, telemetry};
use serde::{Deserialize, Serialize};

use crate::cli::OTHER_VARIABLES;
use crate::process::Role;

mod reference;

/// What the names of variables that set a key begin with.
const PREFIX: &str = "HALLEY";

/// All of it. `halley.toml` at the root of the repository explains each key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) runtime: Runtime,
    pub(crate) log: telemetry::Config,
    pub(crate) admin: admin::Config,
    pub(crate) drain: Drain,
    pub(crate) trust: grpc::Config,
    pub(crate) grpc: Grpc,
    pub(crate) kafka: kafka::Config,
    pub(crate) redis: redis::Config,
    pub(crate) registry: RegistryConfig,
    pub(crate) push_log: PushLog,
    pub(crate) sessions: Sessions,
    pub(crate) dedup: DedupConfig,
    pub(crate) comet: halley_comet::Config,
    pub(crate) logic: halley_logic::Config,
    pub(crate) job: halley_job::Config,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runtime {
    /// 0 takes one for each core that this process may use.
    pub(crate) worker_threads: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    /// What all roles together have; then what is left is ended by force.
    #[serde(with = "humantime_serde")]
    pub(crate) deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
        }
    }
}

/// How connections to other nodes are kept, and which of several is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grpc {
    pub(crate) client: ClientConfig,
    pub(crate) balance: BalancedConfig,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PushLog {
    pub(crate) kind: PushLogKind,
    /// The log itself, beside logic.
    pub(crate) memory: MemoryConfig,
    /// Handing it out to jobs in other processes.
    pub(crate) service: ServiceConfig,
    /// Taking from logs in other processes.
    pub(crate) remote: RemoteConfig,
    pub(crate) kafka: KafkaConfig,
}

/// What carries pushes from logic to job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PushLogKind {
    /// Logic's memory.
    #[default]
    Memory,
    Kafka,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sessions {
    pub(crate) kind: SessionsKind,
    pub(crate) memory: MemorySessionsConfig,
    pub(crate) redis: RedisSessionsConfig,
}

/// What knows where clients are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionsKind {
    /// Logic's memory: for one logic only.
    #[default]
    Memory,
    Redis,
}

impl Config {
    /// Defaults, the file, the environment and the command line, on top of one
    /// another.
    pub(crate) fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        sets: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut loader = Loader::new().defaults(&Self::default());
        if let Some(file) = file {
            loader = loader.file(file)?;
        }
        loader = loader.env(PREFIX, OTHER_VARIABLES, env)?;
        for (key, value) in sets {
            loader = loader.set(key, value)?;
        }
        let mut config: Self = loader.load()?;
        let has_redis = config.sessions.kind == SessionsKind::Redis;
        config.registry.decide(has_redis);
        Ok(config)
    }

    /// Every key with its comment and its value in force; secrets are hidden.
    pub(crate) fn render(&self) -> String {
        reference::render(&self.to_table())
    }

    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("invariant: every key can be written in TOML")
    }

    /// Checks what the types of the keys cannot, and reads the files that they
    /// name.
    pub(crate) fn check(&self, role: Role) -> anyhow::Result<()> {
        self.log.check().context("log.filter")?;
        self.check_times()?;
        if self.uses_redis() {
            Redis::new(&self.redis)?;
        }
        if self.uses_kafka() {
            self.kafka.check()?;
        }
        self.registry.check()?;
        let fixed = &self.registry.fixed;
        for FixedComet { addr, .. } in &fixed.comets {
            check_address("registry.fixed.comets", addr)?;
        }
        for addr in &fixed.logics {
            check_address("registry.fixed.logics", addr)?;
        }
        let trust = Trust::load(&self.trust)?;
        if matches!(role, Role::All | Role::Logic) {
            self.check_logic(&trust)?;
            self.check_sessions(role)?;
        }
        if matches!(role, Role::All | Role::Comet) {
            self.check_comet(&trust)?;
        }
        if matches!(role, Role::All | Role::Job) {
            self.job.check()?;
        }
        match role {
            Role::All => {
                let binds = self.client_binds();
                self.logic.check_public(&binds).map_err(explain)?;
            }
            Role::Comet => ensure!(
                !self.registry.is_fixed() || !self.registry.fixed.logics.is_empty(),
                "registry.fixed.logics is empty: a comet alone needs the gRPC address of a logic, \
                 or another registry.kind"
            ),
            Role::Job => {
                ensure!(
                    self.push_log.kind != PushLogKind::Memory
                        || !self.registry.fixed.logics.is_empty(),
                    "registry.fixed.logics is empty: a job alone needs the gRPC address of each logic \
                     to take pushes from, or push_log.kind = \"kafka\""
                );
                ensure!(
                    !self.is_alone(),
                    "registry.fixed.comets is empty: a job alone needs the names and gRPC addresses of \
                     the comets, or another registry.kind"
                );
            }
            Role::Logic => {}
        }
        Ok(())
    }

    /// Refuses deadlines that would have passed at once, and pauses that would
    /// be none.
    fn check_times(&self) -> anyhow::Result<()> {
        let client = &self.grpc.client;
        let mut times = vec![
            ("drain.deadline", self.drain.deadline),
            ("trust.reload_interval", self.trust.reload_interval),
            ("trust.handshake_timeout", self.trust.handshake_timeout),
            ("grpc.client.connect_timeout", client.connect_timeout),
            ("grpc.client.keepalive_interval", client.keepalive_interval),
            ("grpc.client.keepalive_timeout", client.keepalive_timeout),
        ];
        for (min, max, pauses) in [
            (
                "redis.reconnect.min",
                "redis.reconnect.max",
                self.redis.reconnect,
            ),
            (
                "registry.backoff.min",
                "registry.backoff.max",
                self.registry.backoff,
            ),
            (
                "push_log.remote.reconnect.min",
                "push_log.remote.reconnect.max",
                self.push_log.remote.reconnect,
            ),
            (
                "push_log.kafka.consumer.retry.min",
                "push_log.kafka.consumer.retry.max",
                self.push_log.kafka.consumer.retry,
            ),
        ] {
            times.extend([(min, pauses.min), (max, pauses.max)]);
        }
        for (key, time) in times {
            ensure!(!time.is_zero(), "{key} must be longer than nothing");
        }
        Ok(())
    }

    /// Refuses sessions that end before a comet says that they go on.
    fn check_sessions(&self, role: Role) -> anyhow::Result<()> {
        let (key, expire) = match self.sessions.kind {
            SessionsKind::Memory => ("sessions.memory.expire", self.sessions.memory.expire),
            SessionsKind::Redis => ("sessions.redis.expire", self.sessions.redis.expire),
        };
        // Both count in whole seconds.
        let expire = Duration::from_secs(expire.as_secs());
        ensure!(!expire.is_zero(), "{key} must be at least 1s");
        // Comets in other processes have configurations of their own.
        ensure!(
            role != Role::All || expire > self.comet.logic.renew_interval,
            "{key}, in whole seconds, must be longer than comet.logic.renew_interval: \
             connections would be forgotten before they are renewed"
        );
        Ok(())
    }

    fn check_logic(&self, trust: &Trust) -> anyhow::Result<()> {
        self.logic.check().map_err(explain)?;
        Logic::check_files(&self.logic).context("logic")?;
        let longest = match self.push_log.kind {
            PushLogKind::Kafka => self.push_log.kafka.producer.delivery_timeout,
            PushLogKind::Memory => Duration::ZERO,
        };
        ensure!(
            self.dedup.claim > longest,
            "dedup.claim must be longer than push_log.kafka.producer.delivery_timeout: \
             a push that takes so long could be done twice"
        );
        let rpc = &self.logic.rpc;
        trust.check_bind(rpc.bind).context("logic.rpc.bind")?;
        self.check_announced("logic", rpc.bind, &rpc.advertise)
    }

    fn check_comet(&self, trust: &Trust) -> anyhow::Result<()> {
        self.comet.check()?;
        Comet::check_files(&self.comet)?;
        let rpc = &self.comet.rpc;
        trust.check_bind(rpc.bind).context("comet.rpc.bind")?;
        self.check_announced("comet", rpc.bind, &rpc.advertise)
    }

    /// Refuses to announce an address that leads other nodes nowhere.
    fn check_announced(&self, role: &str, bind: SocketAddr, advertise: &str) -> anyhow::Result<()> {
        if !advertise.is_empty() {
            return check_address(&format!("{role}.rpc.advertise"), advertise);
        }
        let is_reachable = !bind.ip().to_canonical().is_unspecified();
        ensure!(
            is_reachable || !self.registry_has_status(),
            "{role}.rpc.advertise is empty, and the registry would tell other nodes to reach this one at {bind}: \
             set {role}.rpc.advertise to the host:port under which they do, or bind {role}.rpc.bind to one address"
        );
        Ok(())
    }

    /// Whether the registry knows no comet beside those of this process.
    pub(crate) fn is_alone(&self) -> bool {
        self.registry.is_fixed() && self.registry.fixed.comets.is_empty()
    }

    /// Whether the registry also tells how busy nodes are, and who is draining.
    pub(crate) fn registry_has_status(&self) -> bool {
        matches!(
            self.registry.kind,
            RegistryKind::Redis | RegistryKind::Discovery
        )
    }

    pub(crate) fn uses_redis(&self) -> bool {
        self.sessions.kind == SessionsKind::Redis || self.registry.kind == RegistryKind::Redis
    }

    fn uses_kafka(&self) -> bool {
        self.push_log.kind == PushLogKind::Kafka || self.logic.sink.mode == SinkMode::Kafka
    }

    /// Where clients come in, who are who logic says they are.
    fn client_binds(&self) -> Vec<SocketAddr> {
        let comet = &self.comet;
        let mut binds = comet.tcp.bind.clone();
        binds.extend(&comet.websocket.bind);
        if !comet.tls.cert_files.is_empty() {
            binds.extend(&comet.tls.tcp_bind);
            binds.extend(&comet.tls.websocket_bind);
        }
        binds
    }
}

/// Refuses the address of a node to which no other could connect.
fn check_address(key: &str, address: &str) -> anyhow::Result<()> {
    // Registries put a scheme in front of it themselves.
    let has_scheme = address.contains("://");
    ensure!(
        !has_scheme && Client::check(address).is_ok(),
        "{key} has {address:?}, which is not host:port or [IPv6 address]:port"
    );
    Ok(())
}

/// Logic names its keys as they are below `logic`.
fn explain(error: ConfigError) -> anyhow::Error {
    match error {
        ConfigError::Invalid { key, problem } => anyhow::anyhow!("logic.{key} {problem}"),
        ConfigError::InsecurePublic(bind) => anyhow::anyhow!(
            "logic.auth.mode = \"insecure\" lets anyone be any user, and other machines can reach {bind}; \
             set logic.auth.mode to \"jwt\" or \"webhook\", or bind to a loopback address, \
             or, on a network where all are trusted, set logic.auth.insecure.allow_public = true"
        ),
        other => anyhow::anyhow!("logic: {other}"),
    }
}

#[cfg(test)]
mod tests;
