use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, lasting, positive, require};
use crate::nodes::Network;

/// The node list for clients and the advice that goes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodesConfig {
    /// Domain that leads to any comet; told to every client.
    pub default_domain: String,
    /// Appended to a comet's host name for web clients, such as `.example.org`.
    pub host_domain: String,
    /// Port for TCP clients.
    pub tcp_port: u16,
    /// Port for WebSocket clients.
    pub ws_port: u16,
    /// Port for WebSocket clients over TLS.
    pub wss_port: u16,
    /// How often clients are to send a heartbeat.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Heartbeats that may be missed before a connection is closed.
    pub heartbeat_max: u32,
    /// Factor of a comet's weight for clients of its own region.
    pub region_weight: f64,
    /// Silence after which a comet is forgotten.
    #[serde(with = "humantime_serde")]
    pub expiry: Duration,
    /// Time from a comet's start until it gets its whole share of new clients.
    #[serde(with = "humantime_serde")]
    pub slow_start: Duration,
    /// Comets known at a time.
    pub nodes_max: usize,
    /// How clients are to space their reconnects.
    pub backoff: BackoffConfig,
    /// The networks of each region: `bj = ["10.1.0.0/16"]`.
    pub regions: BTreeMap<String, Vec<Network>>,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            default_domain: "localhost".to_owned(),
            host_domain: String::new(),
            tcp_port: 3101,
            ws_port: 3102,
            wss_port: 3103,
            heartbeat: Duration::from_mins(4),
            heartbeat_max: 2,
            region_weight: 1.6,
            expiry: Duration::from_secs(90),
            slow_start: Duration::from_secs(30),
            nodes_max: 10_000,
            backoff: BackoffConfig::default(),
            regions: BTreeMap::new(),
        }
    }
}

/// How clients are to space their reconnects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackoffConfig {
    /// Longest pause, told in whole seconds.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
    /// First pause, told in whole seconds.
    #[serde(with = "humantime_serde")]
    pub base_delay: Duration,
    /// Growth from one pause to the next.
    pub factor: f32,
    /// Share of a pause that is left to chance, 0 to 1.
    pub jitter: f32,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            max_delay: Duration::from_mins(5),
            base_delay: Duration::from_secs(3),
            factor: 1.8,
            jitter: 0.3,
        }
    }
}

impl NodesConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        lasting("nodes.heartbeat", self.heartbeat)?;
        positive("nodes.heartbeat_max", self.heartbeat_max as usize)?;
        lasting("nodes.expiry", self.expiry)?;
        positive("nodes.nodes_max", self.nodes_max)?;
        let is_gain = self.region_weight.is_finite() && self.region_weight > 0.0;
        require(is_gain, "nodes.region_weight", "must be above 0")?;
        let is_share = (0.0..=1.0).contains(&self.backoff.jitter);
        require(is_share, "nodes.backoff.jitter", "must be between 0 and 1")?;
        let is_factor = self.backoff.factor.is_finite() && self.backoff.factor >= 1.0;
        require(is_factor, "nodes.backoff.factor", "must be at least 1")
    }
}
