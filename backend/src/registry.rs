//! The registry: which comets and logics there are, and where.
//!
//! A node announces itself and keeps its [`Lease`]; everyone watches. What was
//! known stays known while the registry cannot be asked: a registry that is
//! away, or was emptied, takes no node from the list before its lease is over.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::config::{RegistryConfig, RegistryError, RegistryKind, build};
pub use self::discovery::{DiscoveryConfig, DiscoveryRegistry};
pub use self::dns::{DnsConfig, DnsRegistry};
pub use self::fixed::{FixedComet, FixedConfig, FixedRegistry};
pub use self::redis::{RedisRegistry, RedisRegistryConfig};

mod config;
mod discovery;
mod dns;
mod fixed;
mod keep;
mod poll;
mod redis;
mod roster;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds connections.
    Comet,
    /// Decides who and where.
    Logic,
}

/// The nodes of one role, ordered by host name; `None` until the registry has
/// answered once. Draining nodes are in it, marked as such.
pub type Snapshot = Option<Arc<[NodeStatus]>>;

/// Knows the nodes.
#[async_trait]
pub trait Registry: Send + Sync + fmt::Debug {
    /// Makes a node known, and keeps it known as `status` has it last, until
    /// the lease is closed or dropped.
    ///
    /// Returns when the registry has taken the node in, or has failed to once;
    /// it is tried again for as long as the lease lives.
    async fn announce(&self, role: Role, status: watch::Receiver<NodeStatus>) -> Lease;

    /// The nodes of `role` as they come and go. Receivers of one role share
    /// one stream of questions to the registry.
    fn watch(&self, role: Role) -> watch::Receiver<Snapshot>;
}

impl Role {
    /// As it is written in keys and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Comet => "comet",
            Self::Logic => "logic",
        }
    }
}

/// A node's place in the registry. Dropped, it is no longer renewed and ends by
/// itself.
#[derive(Debug)]
pub struct Lease {
    keeping: Option<Keeping>,
}

#[derive(Debug)]
struct Keeping {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Lease {
    /// A lease that `task` keeps; told to close, the task takes the node out of
    /// the registry and ends.
    pub fn new(closing: CancellationToken, task: JoinHandle<()>) -> Self {
        Self {
            keeping: Some(Keeping { closing, task }),
        }
    }

    /// The lease of a registry where nodes need none.
    pub fn unneeded() -> Self {
        Self { keeping: None }
    }

    /// Takes the node out of the registry, as far as that can be reached.
    pub async fn close(mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.closing.cancel();
            // A task that panicked has said so, and its lease ends by itself.
            let _ = (&mut keeping.task).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(keeping) = &self.keeping {
            keeping.task.abort();
        }
    }
}
