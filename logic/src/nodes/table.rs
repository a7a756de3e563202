//! The table of nodes: what each said last, and how many clients it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_proto::halley::node::NodeStatus;
use tokio::time::Instant;

use super::balance::Load;

/// goim reads a weight and a connection count as 32-bit numbers.
const COUNT_MAX: i64 = i32::MAX as i64;
/// A client that was sent to a node counts there until the node tells its
/// connections, at most for this long: goim's comets tell theirs as often.
const SENT_COUNTED: Duration = Duration::from_secs(10);

/// Every node by host name.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) nodes: HashMap<String, Node>,
    /// The list of the registry that is in the table.
    listed: Option<Arc<[NodeStatus]>>,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) status: NodeStatus,
    /// The registry knows no more than this of the node, which says the rest
    /// when it calls.
    bare: Option<NodeStatus>,
    told: Instant,
    pub(super) told_ns: i64,
    /// Since when this run of the node is in the table.
    since: Instant,
    /// The weight, and the connections with those of clients on their way.
    pub(super) load: Load,
    load_since: Instant,
    /// The part of a client that is due to a node in its slow start.
    pub(super) due: f64,
}

impl Table {
    /// Takes in what a comet said of itself, without a registry. Returns false
    /// if the comet is new and the table has `nodes_max` already.
    pub(super) fn tell(&mut self, status: NodeStatus, nodes_max: usize, now: Instant) -> bool {
        if let Some(node) = self.nodes.get_mut(&status.hostname) {
            node.tell(status, now);
        } else if self.nodes.len() < nodes_max {
            self.nodes
                .insert(status.hostname.clone(), Node::new(status, now));
        } else {
            return false;
        }
        true
    }

    /// Takes in what a comet said of itself if the registry does not know.
    pub(super) fn complete(&mut self, status: NodeStatus, now: Instant) {
        if let Some(node) = self.nodes.get_mut(&status.hostname)
            && let Some(bare) = &node.bare
        {
            let grpc = bare.grpc.clone();
            node.tell(NodeStatus { grpc, ..status }, now);
        }
    }

    /// Makes the table that of the registry's list, up to `nodes_max`.
    pub(super) fn list(&mut self, listed: &Arc<[NodeStatus]>, nodes_max: usize, now: Instant) {
        if self
            .listed
            .as_ref()
            .is_some_and(|was| Arc::ptr_eq(was, listed))
        {
            return;
        }
        self.listed = Some(Arc::clone(listed));
        let mut before = std::mem::take(&mut self.nodes);
        for status in listed.iter().take(nodes_max) {
            let node = match before.remove(&status.hostname) {
                Some(mut node) => {
                    let was = node.bare.as_ref().unwrap_or(&node.status);
                    if was != status {
                        node.tell(status.clone(), now);
                    }
                    node
                }
                None => Node::new(status.clone(), now),
            };
            let bare = is_bare(status).then(|| status.clone());
            self.nodes
                .insert(status.hostname.clone(), Node { bare, ..node });
        }
        if listed.len() > nodes_max {
            tracing::warn!(nodes = listed.len(), nodes_max, "node table is full");
        }
    }

    /// Forgets nodes that said nothing for `expiry`, or of those that the
    /// registry lists what they said.
    pub(super) fn forget_silent(&mut self, expiry: Duration, now: Instant) {
        let is_listed = self.listed.is_some();
        self.nodes.retain(|hostname, node| {
            if now.saturating_duration_since(node.told) <= expiry {
                return true;
            }
            if !is_listed {
                tracing::warn!(node = %hostname, "node is silent and forgotten");
            } else if let Some(bare) = node.bare.clone() {
                node.tell(bare, now);
            }
            is_listed
        });
    }
}

impl Node {
    fn new(status: NodeStatus, now: Instant) -> Self {
        Self {
            load: load(&status),
            status,
            bare: None,
            told: now,
            told_ns: unix_ns(),
            since: now,
            load_since: now,
            due: 0.0,
        }
    }

    fn tell(&mut self, status: NodeStatus, now: Instant) {
        if self.status.started_ms != status.started_ms {
            self.since = now;
            self.due = 0.0;
        }
        self.load = load(&status);
        self.load_since = now;
        self.told = now;
        self.told_ns = unix_ns();
        self.status = status;
    }

    pub(super) fn takes_clients(&self) -> bool {
        !self.status.draining && self.load.weight > 0
    }

    /// Counts clients no more that should have arrived.
    pub(super) fn recount(&mut self, now: Instant) {
        if now.saturating_duration_since(self.load_since) > SENT_COUNTED {
            self.load = load(&self.status);
            self.load_since = now;
        }
    }

    /// Counts a client that is sent to the node.
    pub(super) fn send(&mut self) {
        self.load.connections += 1;
    }

    /// How far the node is through its slow start, 0 to 1. One that does not
    /// say when it started is through.
    pub(super) fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        if self.status.started_ms <= 0 || slow_start.is_zero() {
            return 1.0;
        }
        // Clocks differ: a node is never taken for younger than its time here.
        let up_ms = (unix_ns() / 1_000_000).saturating_sub(self.status.started_ms);
        let up = Duration::from_millis(u64::try_from(up_ms).unwrap_or(0));
        let up = up.max(now.saturating_duration_since(self.since));
        up.div_duration_f64(slow_start).min(1.0)
    }
}

fn load(status: &NodeStatus) -> Load {
    Load {
        weight: status.weight.clamp(0, COUNT_MAX),
        connections: status.conn_count.clamp(0, COUNT_MAX),
    }
}

/// Whether it is no more than a name and an address, as a list or DNS has it.
fn is_bare(status: &NodeStatus) -> bool {
    status.addrs.is_empty() && status.weight == 0 && status.started_ms == 0
}

fn unix_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_nanos()).ok())
        .unwrap_or(0)
}
