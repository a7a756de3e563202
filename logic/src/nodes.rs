//! The comet nodes that logic knows of, and which of them new clients get.
//!
//! The registry says which there are. Without one, the table is fed by what
//! comets say of themselves, and a comet that stays silent is forgotten on its
//! own: however many others are silent too, no dead node is served.

mod balance;
mod callers;
mod network;
mod table;

use std::net::IpAddr;
use std::time::Duration;

use halley_backend::registry::Snapshot;
use halley_proto::goim::logic::{Backoff, NodesReply};
use halley_proto::halley::node::NodeStatus;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use self::balance::Load;
use self::callers::Callers;
pub use self::network::{Network, NetworkError};
use self::table::{Node, Table};
use crate::config::NodesConfig;

/// Nodes in one answer, at most: goim's number.
const ANSWER_NODES_MAX: usize = 5;
/// The platform that is told host names instead of addresses.
const PLATFORM_WEB: &str = "web";

/// The table of comet nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    config: NodesConfig,
    registry: Option<watch::Receiver<Snapshot>>,
    table: Mutex<Table>,
    callers: Callers,
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

impl Nodes {
    /// A table of what `registry` lists, or of nothing yet.
    pub(crate) fn new(config: NodesConfig, registry: Option<watch::Receiver<Snapshot>>) -> Self {
        Self {
            config,
            registry,
            table: Mutex::default(),
            callers: Callers::default(),
        }
    }

    /// Takes in what a comet says of itself.
    ///
    /// A comet without a host name is ignored, and so is a new one when the
    /// table is full. What the registry says of a comet counts for more.
    pub(crate) fn observe(&self, status: NodeStatus) {
        if status.hostname.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut table = self.table();
        if self.registry.is_some() {
            table.complete(status, now);
            return;
        }
        let hostname = status.hostname.clone();
        let is_known = table.tell(status, self.config.nodes_max, now);
        drop(table);
        if !is_known {
            tracing::warn!(node = %hostname, "node table is full");
        }
    }

    /// Notes that the comet `server` called, which it does while it lives.
    pub(crate) fn called(&self, server: &str) {
        if self.is_listed(server) == Some(false) {
            self.callers.called(server, self.config.nodes_max);
        }
    }

    /// Whether there is, for all that is known, a comet of this name. A list
    /// without a single comet says nothing about any.
    pub(crate) fn is_live(&self, server: &str) -> bool {
        self.is_listed(server) != Some(false) || self.callers.is_live(server)
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
        let table = self.table();
        let mut instances: Vec<_> = table
            .nodes
            .values()
            .filter(|node| !node.status.draining)
            .map(|node| Instance {
                status: node.status.clone(),
                latest_timestamp_ns: node.told_ns,
            })
            .collect();
        drop(table);
        instances.sort_unstable_by(|a, b| a.status.hostname.cmp(&b.status.hostname));
        instances
    }

    /// The connections of all nodes; those of draining nodes are still open
    /// and count.
    pub(crate) fn totals(&self) -> Totals {
        let table = self.table();
        table
            .nodes
            .values()
            .fold(Totals::default(), |sum, node| Totals {
                connections: sum
                    .connections
                    .saturating_add(node.status.conn_count.max(0)),
                ips: sum.ips.saturating_add(node.status.ip_count.max(0)),
            })
    }

    /// Orders the nodes, counts the client to the first, and names the best.
    fn choose(&self, by_hostname: bool, region: &str) -> Vec<String> {
        let now = Instant::now();
        let mut table = self.table();
        let mut candidates: Vec<&mut Node> = table
            .nodes
            .values_mut()
            .filter(|node| node.takes_clients())
            .filter(|node| by_hostname || !node.status.addrs.is_empty())
            .collect();
        let mut total = Load {
            weight: 0,
            connections: 0,
        };
        for node in &mut candidates {
            node.recount(now);
            total.weight = total.weight.saturating_add(node.load.weight);
            total.connections = total.connections.saturating_add(node.load.connections);
        }
        self.hold_back(&mut candidates, now);
        candidates.sort_by_cached_key(|node| {
            let gain = if node.status.region == region {
                self.config.region_weight
            } else {
                1.0
            };
            let weight = balance::current_weight(node.load, total, gain);
            let is_held_back = node.due < 1.0;
            (
                is_held_back,
                std::cmp::Reverse(weight),
                node.status.hostname.clone(),
            )
        });
        if let Some(first) = candidates.first_mut() {
            first.send();
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

    /// Lets nodes in their slow start come first only as often as they are
    /// through it, in proportion to the one that is farthest.
    ///
    /// goim's rule alone would send every client to a node that has just come,
    /// since none lacks more.
    fn hold_back(&self, candidates: &mut [&mut Node], now: Instant) {
        let warmth = |node: &Node| node.warmth(self.config.slow_start, now);
        let warmest = candidates
            .iter()
            .map(|node| warmth(node))
            .fold(0.0, f64::max);
        for node in candidates {
            let share = warmth(node) / warmest;
            if node.due >= 1.0 {
                node.due -= 1.0;
            }
            // Not a number when all have only just come.
            node.due = if share < 1.0 { node.due + share } else { 1.0 };
        }
    }

    /// Whether the registry lists `server`; `None` if it cannot say.
    fn is_listed(&self, server: &str) -> Option<bool> {
        let listed = self.registry.as_ref()?.borrow();
        let listed = listed.as_deref().filter(|listed| !listed.is_empty())?;
        let at = listed.binary_search_by(|node| node.hostname.as_str().cmp(server));
        Some(at.is_ok())
    }

    /// The table as it is now.
    fn table(&self) -> MutexGuard<'_, Table> {
        let listed = self
            .registry
            .as_ref()
            .and_then(|listed| listed.borrow().clone());
        let now = Instant::now();
        let mut table = self.table.lock();
        if let Some(listed) = listed {
            table.list(&listed, self.config.nodes_max, now);
        }
        table.forget_silent(self.config.expiry, now);
        table
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
