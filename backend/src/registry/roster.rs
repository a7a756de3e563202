//! The nodes of one role as the answers of a registry leave them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Role, Snapshot};

/// What a registry said.
#[derive(Debug)]
pub(super) struct Answer {
    /// Nodes that it has, each with what is left of its lease; `None` is for as
    /// long as the registry lists it.
    pub(super) alive: Vec<(NodeStatus, Option<Duration>)>,
    /// Names of nodes that left in order.
    pub(super) left: Vec<String>,
    /// What the absence of other nodes means.
    pub(super) missing: Missing,
}

/// What becomes of known nodes that an answer does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are gone, if the answer before had them.
    Gone,
    /// They stay for the rest of their lease, or the grace: the registry may
    /// have lost them.
    Stay,
}

/// The nodes of one role, and who is told of them.
#[derive(Debug)]
pub(super) struct Roster {
    role: Role,
    grace: Duration,
    nodes: BTreeMap<String, Known>,
    /// When the registry was last asked.
    asked: Instant,
    snapshot: watch::Sender<Snapshot>,
}

#[derive(Debug)]
struct Known {
    status: NodeStatus,
    /// `None` while the registry lists it.
    until: Option<Instant>,
    /// The last answer had it.
    is_listed: bool,
}

impl Roster {
    /// Knows nothing yet. A node that the registry may have lost stays for
    /// `grace`.
    pub(super) fn new(role: Role, grace: Duration) -> Self {
        Self {
            role,
            grace,
            nodes: BTreeMap::new(),
            asked: Instant::now(),
            snapshot: watch::Sender::new(None),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// When the first of the nodes is over that the registry does not list.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|known| known.until).min()
    }

    /// Takes in an answer; `None` says that nothing has changed.
    pub(super) fn answered(&mut self, answer: Option<Answer>) {
        let now = Instant::now();
        self.asked = now;
        if let Some(answer) = answer {
            self.merge(answer, now);
        }
        self.nodes
            .retain(|_, known| known.until.is_none_or(|until| until > now));
        self.publish();
    }

    /// The registry cannot be asked: no node's time runs out meanwhile, and
    /// those that it listed before have the grace to show up again afterwards.
    pub(super) fn unanswered(&mut self) {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.asked, now);
        for known in self.nodes.values_mut() {
            known.until = known.until.map(|end| {
                if known.is_listed {
                    end.max(now + self.grace)
                } else {
                    end + passed
                }
            });
        }
    }

    fn merge(&mut self, answer: Answer, now: Instant) {
        let mut before = std::mem::take(&mut self.nodes);
        for name in &answer.left {
            before.remove(name);
        }
        for (status, lease) in answer.alive {
            before.remove(&status.hostname);
            let until = lease.map(|lease| now + lease);
            match self.nodes.entry(status.hostname.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(Known::listed(status, until));
                }
                Entry::Occupied(mut entry) => {
                    if is_newer(&status, &entry.get().status) {
                        entry.insert(Known::listed(status, until));
                    }
                }
            }
        }
        for (name, mut known) in before {
            known.is_listed = false;
            if known.until.is_none() {
                if answer.missing == Missing::Gone {
                    continue;
                }
                known.until = Some(now + self.grace);
            }
            self.nodes.insert(name, known);
        }
    }

    /// Tells the watchers, if there is news.
    fn publish(&self) {
        let nodes: Arc<[NodeStatus]> = self
            .nodes
            .values()
            .map(|known| known.status.clone())
            .collect();
        self.snapshot.send_if_modified(|snapshot| {
            if snapshot.as_deref() == Some(&*nodes) {
                return false;
            }
            report(self.role, snapshot.as_deref().unwrap_or_default(), &nodes);
            *snapshot = Some(nodes);
            true
        });
    }
}

impl Known {
    fn listed(status: NodeStatus, until: Option<Instant>) -> Self {
        Self {
            status,
            until,
            is_listed: true,
        }
    }
}

/// Which of two entries of one name counts: the node that started last.
fn is_newer(status: &NodeStatus, than: &NodeStatus) -> bool {
    (status.started_ms, &status.grpc) > (than.started_ms, &than.grpc)
}

/// Logs what a person may want to know of the change from `before` to `after`,
/// both by host name.
fn report(role: Role, before: &[NodeStatus], after: &[NodeStatus]) {
    let role = role.as_str();
    let find = |nodes: &'_ [NodeStatus], name: &str| -> Option<usize> {
        nodes
            .binary_search_by(|node| node.hostname.as_str().cmp(name))
            .ok()
    };
    for node in after {
        let NodeStatus { hostname, grpc, .. } = node;
        let Some(was) = find(before, hostname).map(|at| &before[at]) else {
            tracing::info!(role, node = %hostname, %grpc, "node appeared");
            continue;
        };
        if was.grpc != *grpc {
            tracing::info!(role, node = %hostname, %grpc, was = %was.grpc, "node moved");
        } else if was.started_ms != node.started_ms {
            tracing::info!(role, node = %hostname, %grpc, "node started anew");
        }
        if was.draining != node.draining {
            let draining = node.draining;
            tracing::info!(role, node = %hostname, draining, "node changed its state");
        }
    }
    for NodeStatus { hostname, grpc, .. } in before {
        if find(after, hostname).is_none() {
            tracing::info!(role, node = %hostname, %grpc, "node is gone");
        }
    }
}

#[cfg(test)]
mod tests;
