//! The comet nodes that logic knows of, and which of them new clients get.
//!
//! Fed by what comets say of themselves. A node that stays silent is forgotten
//! on its own: however many others are silent too, no dead node is served.

mod balance;
mod network;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_proto::goim::logic::{Backoff, NodesReply};
use halley_proto::halley::node::NodeStatus;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::balance::Load;
pub use self::network::{Network, NetworkError};
use crate::config::NodesConfig;

/// Nodes in one answer, at most: goim's number.
const ANSWER_NODES_MAX: usize = 5;
/// The platform that is told host names instead of addresses.
const PLATFORM_WEB: &str = "web";
/// goim reads a weight and a connection count as 32-bit numbers.
const COUNT_MAX: i64 = i32::MAX as i64;

/// The table of comet nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    config: NodesConfig,
    table: Mutex<HashMap<String, Node>>,
}

/// A comet node as `/goim/nodes/instances` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// What the node last said.
    pub(crate) status: NodeStatus,
    /// When it said so, in nanoseconds since the Unix epoch.
    pub(crate) latest_timestamp_ns: i64,
}

/// Connections of all nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Open connections.
    pub(crate) connections: i64,
    /// Distinct client addresses, summed over the nodes.
    pub(crate) ips: i64,
}

#[derive(Debug)]
struct Node {
    status: NodeStatus,
    seen: Instant,
    seen_ns: i64,
    load: Load,
}

impl Nodes {
    /// An empty table.
    pub(crate) fn new(config: NodesConfig) -> Self {
        Self {
            config,
            table: Mutex::default(),
        }
    }

    /// Takes in what a comet says of itself.
    ///
    /// A node without a host name is ignored, and so is a new one when the
    /// table is full.
    pub(crate) fn observe(&self, status: NodeStatus) {
        if status.hostname.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut table = self.table.lock();
        forget_silent(&mut table, now, self.config.expiry);
        if table.len() >= self.config.nodes_max && !table.contains_key(&status.hostname) {
            drop(table);
            tracing::warn!(node = %status.hostname, "node table is full");
            return;
        }
        let load = Load {
            weight: status.weight.clamp(0, COUNT_MAX),
            connections: status.conn_count.clamp(0, COUNT_MAX),
        };
        table.insert(
            status.hostname.clone(),
            Node {
                status,
                seen: now,
                seen_ns: unix_ns(),
                load,
            },
        );
    }

    /// The nodes that a new client of `platform` in `region` should try, best
    /// first, with the advice of the config.
    pub(crate) fn weighted(&self, platform: &str, region: &str) -> NodesReply {
        let config = &self.config;
        let mut nodes = self.choose(platform == PLATFORM_WEB, region);
        if nodes.is_empty() {
            nodes.push(config.default_domain.clone());
        }
        NodesReply {
            domain: config.default_domain.clone(),
            tcp_port: i32::from(config.tcp_port),
            ws_port: i32::from(config.ws_port),
            wss_port: i32::from(config.wss_port),
            heartbeat: seconds(config.heartbeat),
            nodes,
            backoff: Some(Backoff {
                max_delay: seconds(config.backoff.max_delay),
                base_delay: seconds(config.backoff.base_delay),
                factor: config.backoff.factor,
                jitter: config.backoff.jitter,
            }),
            heartbeat_max: i32::try_from(config.heartbeat_max).unwrap_or(i32::MAX),
        }
    }

    /// The region whose networks hold `client`, by the most specific network;
    /// empty when none does.
    pub(crate) fn region_of(&self, client: Option<IpAddr>) -> &str {
        let Some(client) = client else {
            return "";
        };
        self.config
            .regions
            .iter()
            .flat_map(|(region, networks)| networks.iter().map(move |network| (region, network)))
            .filter(|(_, network)| network.contains(client))
            .max_by_key(|(_, network)| network.specificity())
            .map_or("", |(region, _)| region)
    }

    /// Every node that takes clients, by host name.
    pub(crate) fn instances(&self) -> Vec<Instance> {
        let mut table = self.table.lock();
        forget_silent(&mut table, Instant::now(), self.config.expiry);
        let mut instances: Vec<_> = table
            .values()
            .filter(|node| !node.status.draining)
            .map(|node| Instance {
                status: node.status.clone(),
                latest_timestamp_ns: node.seen_ns,
            })
            .collect();
        drop(table);
        instances.sort_unstable_by(|a, b| a.status.hostname.cmp(&b.status.hostname));
        instances
    }

    /// The connections of all nodes; those of draining nodes are still open
    /// and count.
    pub(crate) fn totals(&self) -> Totals {
        let mut table = self.table.lock();
        forget_silent(&mut table, Instant::now(), self.config.expiry);
        table.values().fold(Totals::default(), |sum, node| Totals {
            connections: sum
                .connections
                .saturating_add(node.status.conn_count.max(0)),
            ips: sum.ips.saturating_add(node.status.ip_count.max(0)),
        })
    }

    /// Orders the nodes, counts the client to the first, and names the best.
    fn choose(&self, by_hostname: bool, region: &str) -> Vec<String> {
        let mut table = self.table.lock();
        forget_silent(&mut table, Instant::now(), self.config.expiry);
        let mut candidates: Vec<&mut Node> = table
            .values_mut()
            .filter(|node| node.takes_clients())
            .collect();
        let total = candidates.iter().fold(
            Load {
                weight: 0,
                connections: 0,
            },
            |sum, node| Load {
                weight: sum.weight.saturating_add(node.load.weight),
                connections: sum.connections.saturating_add(node.load.connections),
            },
        );
        candidates.sort_by_cached_key(|node| {
            let gain = if node.status.region == region {
                self.config.region_weight
            } else {
                1.0
            };
            let weight = balance::current_weight(node.load, total, gain);
            (std::cmp::Reverse(weight), node.status.hostname.clone())
        });
        if let Some(first) = candidates.first_mut() {
            first.load.connections += 1;
        }
        let best = candidates.iter().take(ANSWER_NODES_MAX);
        if by_hostname {
            best.map(|node| format!("{}{}", node.status.hostname, self.config.host_domain))
                .collect()
        } else {
            best.flat_map(|node| node.status.addrs.iter().cloned())
                .collect()
        }
    }
}

impl Node {
    fn takes_clients(&self) -> bool {
        !self.status.draining && self.load.weight > 0
    }
}

fn forget_silent(table: &mut HashMap<String, Node>, now: Instant, expiry: Duration) {
    table.retain(|hostname, node| {
        let is_alive = now.saturating_duration_since(node.seen) <= expiry;
        if !is_alive {
            tracing::warn!(node = %hostname, "node is silent and forgotten");
        }
        is_alive
    });
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn unix_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
