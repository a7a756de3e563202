//! Nodes of bilibili/discovery, the registry of goim: for systems in which
//! goim's nodes and Halley's work together.
//!
//! Everything is written as goim's nodes write it and read as they read it. A
//! watcher that waits is told of a `set`; one that is between two polls is not,
//! as only a registration moves the timestamp that polls compare. So a node
//! registers anew when its state changes, and sets when only its counts do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_proto::halley::node::NodeStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::api::Api;
use self::entry::Registration;
use self::polls::Polls;
use super::keep::{self, Renewal};
use super::poll::{Pace, Watches};
use super::{Lease, Registry, RegistryError, Role, Snapshot};
use crate::backoff::Backoff;

mod api;
mod entry;
mod instance;
mod polls;

/// The discovery nodes and what is told to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Addresses of discovery nodes, `host:port`; one that fails is left for
    /// the next.
    pub nodes: Vec<String>,
    /// Region of nodes that name none.
    pub region: String,
    /// Zone of nodes that name none.
    pub zone: String,
    /// Environment: nodes of others are not seen.
    pub env: String,
    /// From one renewal of a lease to the next; discovery drops a node after
    /// 90 seconds without.
    #[serde(with = "humantime_serde")]
    pub renew_interval: Duration,
    /// How often a comet tells its counts.
    #[serde(with = "humantime_serde")]
    pub set_interval: Duration,
    /// From an answer to the next poll.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time in which a request must be answered.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Time in which a poll must be answered, which discovery does after 30
    /// seconds without news.
    #[serde(with = "humantime_serde")]
    pub poll_timeout: Duration,
    /// How long nodes stay that discovery may have lost.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            region: String::new(),
            zone: String::new(),
            env: String::new(),
            renew_interval: Duration::from_secs(30),
            set_interval: Duration::from_secs(10),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(3),
            poll_timeout: Duration::from_secs(40),
            grace: Duration::from_mins(1),
        }
    }
}

/// The nodes that discovery knows.
#[derive(Debug)]
pub struct DiscoveryRegistry {
    config: Arc<DiscoveryConfig>,
    api: Api,
    backoff: Backoff,
    watches: Watches,
}

impl DiscoveryRegistry {
    /// Asks nobody before someone announces or watches.
    pub fn new(config: DiscoveryConfig, backoff: Backoff) -> Result<Self, RegistryError> {
        config.check()?;
        let api = Api::new(&config)?;
        Ok(Self {
            api,
            backoff,
            config: Arc::new(config),
            watches: Watches::default(),
        })
    }
}

impl DiscoveryConfig {
    pub(super) fn check(&self) -> Result<(), RegistryError> {
        api::urls(&self.nodes)?;
        for (key, value) in [("discovery.zone", &self.zone), ("discovery.env", &self.env)] {
            if value.is_empty() {
                return Err(RegistryError::new(key, "is empty, which discovery refuses"));
            }
        }
        for (key, value) in [
            ("discovery.renew_interval", self.renew_interval),
            ("discovery.set_interval", self.set_interval),
            ("discovery.interval", self.interval),
            ("discovery.timeout", self.timeout),
            ("discovery.poll_timeout", self.poll_timeout),
        ] {
            RegistryError::unless_lasting(key, value)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Registry for DiscoveryRegistry {
    async fn announce(&self, role: Role, status: watch::Receiver<NodeStatus>) -> Lease {
        let config = Arc::clone(&self.config);
        let renewal = Renewal {
            interval: match role {
                Role::Comet => config.set_interval.min(config.renew_interval),
                Role::Logic => config.renew_interval,
            },
            backoff: self.backoff,
        };
        let registration = Registration::new(self.api.clone(), config, role);
        keep::announce(registration, role, status, renewal).await
    }

    fn watch(&self, role: Role) -> watch::Receiver<Snapshot> {
        let pace = Pace {
            interval: self.config.interval,
            backoff: self.backoff,
            grace: self.config.grace,
        };
        self.watches.watch(role, pace, || {
            Polls::new(self.api.clone(), &self.config, role)
        })
    }
}

/// The name under which goim's nodes of a role register.
fn appid(role: Role) -> &'static str {
    match role {
        Role::Comet => "goim.comet",
        Role::Logic => "goim.logic",
    }
}
