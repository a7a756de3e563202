//! Nodes in Redis: one hash for each role, one field for each node.
//!
//! A lease is a time in the entry, by the clock of Redis. A node that leaves in
//! order says so in its entry, so an entry that is merely missing means that
//! Redis was emptied, and takes no node from anyone's list before its lease is
//! over.

use std::time::Duration;

use async_trait::async_trait;
use halley_proto::halley::node::NodeStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::entries::{Entries, Entry};
use super::keep::{self, Renewal};
use super::poll::{Pace, Watches};
use super::{Lease, Registry, RegistryError, Role, Snapshot};
use crate::backoff::Backoff;
use crate::redis::Redis;

mod entries;
mod record;

/// A lease is renewed this many times before it would end.
const RENEWALS_PER_LEASE: u32 = 3;

/// Where the nodes are kept and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisRegistryConfig {
    /// What the keys begin with: `<prefix>:{comet}` and `<prefix>:{logic}`.
    pub prefix: String,
    /// How long a node is known that does not renew, which it does three times
    /// as often.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// From one look at the nodes to the next.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

impl Default for RedisRegistryConfig {
    fn default() -> Self {
        Self {
            prefix: "halley:nodes".to_owned(),
            ttl: Duration::from_secs(15),
            interval: Duration::from_secs(1),
        }
    }
}

/// The nodes that Redis knows.
#[derive(Debug)]
pub struct RedisRegistry {
    redis: Redis,
    config: RedisRegistryConfig,
    backoff: Backoff,
    watches: Watches,
}

impl RedisRegistry {
    /// Asks nobody before someone announces or watches.
    pub fn new(
        redis: Redis,
        config: RedisRegistryConfig,
        backoff: Backoff,
    ) -> Result<Self, RegistryError> {
        config.check()?;
        Ok(Self {
            redis,
            config,
            backoff,
            watches: Watches::default(),
        })
    }

    fn key(&self, role: Role) -> String {
        // The braces let a Redis Cluster keep what belongs to a role together.
        format!("{}:{{{}}}", self.config.prefix, role.as_str())
    }
}

impl RedisRegistryConfig {
    pub(super) fn check(&self) -> Result<(), RegistryError> {
        RegistryError::unless_lasting("redis.ttl", self.ttl)?;
        RegistryError::unless_lasting("redis.interval", self.interval)
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn announce(&self, role: Role, status: watch::Receiver<NodeStatus>) -> Lease {
        let entry = Entry::new(self.redis.clone(), self.key(role), self.config.ttl);
        let renewal = Renewal {
            interval: self.config.ttl / RENEWALS_PER_LEASE,
            backoff: self.backoff,
        };
        keep::announce(entry, role, status, renewal).await
    }

    fn watch(&self, role: Role) -> watch::Receiver<Snapshot> {
        let pace = Pace {
            interval: self.config.interval,
            backoff: self.backoff,
            grace: self.config.ttl,
        };
        self.watches.watch(role, pace, || {
            Entries::new(self.redis.clone(), self.key(role))
        })
    }
}
