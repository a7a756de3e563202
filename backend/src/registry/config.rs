//! Which registry a system has, and its settings.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DiscoveryConfig, DiscoveryRegistry, DnsConfig, DnsRegistry, FixedConfig, FixedRegistry,
    RedisRegistry, RedisRegistryConfig, Registry,
};
use crate::backoff::Backoff;
use crate::redis::Redis;

/// How nodes find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Which of the registries it is; the settings of the others are unused.
    pub kind: RegistryKind,
    /// Pauses after a registry could not be reached.
    pub backoff: Backoff,
    /// A list of nodes.
    pub fixed: FixedConfig,
    /// DNS names.
    pub dns: DnsConfig,
    /// Leases in Redis.
    pub redis: RedisRegistryConfig,
    /// Nodes of bilibili/discovery, for systems that have goim nodes.
    pub discovery: DiscoveryConfig,
}

/// The registries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryKind {
    /// Not chosen: see [`RegistryConfig::decide`].
    #[default]
    Auto,
    /// A list in the configuration.
    Fixed,
    /// DNS records, polled.
    Dns,
    /// Leases in Redis.
    Redis,
    /// Leases in bilibili/discovery.
    Discovery,
}

/// A setting that the operator must change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("registry.{key} {problem}")]
pub struct RegistryError {
    /// The key below `registry`.
    key: &'static str,
    problem: String,
}

impl RegistryError {
    pub(super) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self {
            key,
            problem: problem.into(),
        }
    }

    pub(super) fn unless_lasting(key: &'static str, value: Duration) -> Result<(), Self> {
        if value.is_zero() {
            return Err(Self::new(key, "must be longer than nothing"));
        }
        Ok(())
    }
}

impl RegistryConfig {
    /// Chooses a kind where none is chosen: leases in the Redis that a system
    /// has for its sessions, unless it lists its nodes.
    pub fn decide(&mut self, has_redis: bool) {
        if self.kind == RegistryKind::Auto {
            self.kind = if has_redis && self.fixed == FixedConfig::default() {
                RegistryKind::Redis
            } else {
                RegistryKind::Fixed
            };
        }
    }

    /// Whether it is the list in the configuration.
    pub fn is_fixed(&self) -> bool {
        matches!(self.kind, RegistryKind::Auto | RegistryKind::Fixed)
    }

    /// Checks what the types cannot, of the registry that is chosen.
    pub fn check(&self) -> Result<(), RegistryError> {
        match self.kind {
            RegistryKind::Auto | RegistryKind::Fixed => FixedRegistry::new(&self.fixed).map(drop),
            RegistryKind::Dns => self.dns.check(),
            RegistryKind::Redis => self.redis.check(),
            RegistryKind::Discovery => self.discovery.check(),
        }
    }
}

/// The registry that `config` describes. The one in Redis needs `redis`.
pub fn build(
    config: &RegistryConfig,
    redis: Option<Redis>,
) -> Result<Arc<dyn Registry>, RegistryError> {
    let backoff = config.backoff;
    Ok(match config.kind {
        RegistryKind::Auto | RegistryKind::Fixed => Arc::new(FixedRegistry::new(&config.fixed)?),
        RegistryKind::Dns => Arc::new(DnsRegistry::new(&config.dns, backoff)?),
        RegistryKind::Redis => {
            let redis = redis.ok_or_else(|| {
                RegistryError::new("kind", "is \"redis\", and there is no redis configured")
            })?;
            let config = config.redis.clone();
            Arc::new(RedisRegistry::new(redis, config, backoff)?)
        }
        RegistryKind::Discovery => {
            let config = config.discovery.clone();
            Arc::new(DiscoveryRegistry::new(config, backoff)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: RegistryKind) -> RegistryConfig {
        RegistryConfig {
            kind,
            ..RegistryConfig::default()
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (kind, key) in [
            (RegistryKind::Dns, "registry.dns.comets "),
            (RegistryKind::Discovery, "registry.discovery.nodes "),
        ] {
            let problem = config(kind).check().unwrap_err().to_string();
            assert!(problem.starts_with(key), "{problem}");
        }
        config(RegistryKind::Fixed).check().unwrap();
        config(RegistryKind::Redis).check().unwrap();
        let problem = build(&config(RegistryKind::Redis), None).unwrap_err();
        assert_eq!(problem.key, "kind");
    }

    #[test]
    fn without_a_choice_redis_has_the_leases_of_whoever_lists_nothing() {
        let listed = FixedConfig {
            logics: vec!["127.0.0.1:3119".to_owned()],
            ..FixedConfig::default()
        };
        for (has_redis, fixed, chosen) in [
            (false, FixedConfig::default(), RegistryKind::Fixed),
            (true, FixedConfig::default(), RegistryKind::Redis),
            (true, listed, RegistryKind::Fixed),
        ] {
            let mut config = RegistryConfig {
                fixed,
                ..RegistryConfig::default()
            };
            config.decide(has_redis);
            assert_eq!(config.kind, chosen);
        }
        let mut chosen = config(RegistryKind::Dns);
        chosen.decide(true);
        assert_eq!(chosen.kind, RegistryKind::Dns);
    }

    #[test]
    fn intervals_are_longer_than_nothing() {
        let mut config = config(RegistryKind::Redis);
        config.redis.ttl = Duration::ZERO;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "registry.redis.ttl must be longer than nothing"
        );
    }
}
