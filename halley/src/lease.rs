//! A node's place in the registry, for as long as its role runs.

use std::sync::Arc;

use halley_backend::registry::{Registry, Role};
use halley_node::{DrainOutcome, Stage};
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Announces the node and takes it out of the registry when drained: meant to
/// drain right after the role itself.
pub(crate) fn stage(
    name: &'static str,
    nodes: Arc<dyn Registry>,
    role: Role,
    status: watch::Receiver<NodeStatus>,
) -> Stage {
    let drain = CancellationToken::new();
    let now = CancellationToken::new();
    let keeping = {
        let (drain, now) = (drain.clone(), now.clone());
        async move {
            let lease = tokio::select! {
                lease = nodes.announce(role, status) => lease,
                () = drain.cancelled() => return,
            };
            drain.cancelled().await;
            tokio::select! {
                () = lease.close() => {}
                () = now.cancelled() => {}
            }
        }
    };
    let keeping = TaskTracker::new().spawn(keeping);
    Stage::new(name, drain, now, async move {
        keeping.await?;
        Ok(DrainOutcome::default())
    })
}
