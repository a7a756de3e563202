//! The logics in other processes.

use halley_backend::push_log::RemotePeer;
use halley_backend::registry::{RegistryConfig, Snapshot};
use halley_node::Registry;
use halley_node::grpc::{AddressError, Balanced, BalancedConfig, Client, Connection, Target};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What node addresses begin with in a registry.
const SCHEME: &str = "grpc://";

/// To any of the logics that the registry knows; connects on first use.
pub(crate) fn any(
    mut nodes: watch::Receiver<Snapshot>,
    client: &Client,
    config: BalancedConfig,
    registry: &mut Registry,
) -> Balanced {
    let (sender, targets) = watch::channel(targets(&nodes.borrow_and_update()));
    TaskTracker::new().spawn(async move {
        while nodes.changed().await.is_ok() {
            if sender
                .send(self::targets(&nodes.borrow_and_update()))
                .is_err()
            {
                return;
            }
        }
    });
    Balanced::new("logic", client.clone(), config, targets, registry)
}

/// To each logic of the fixed list, for what only that one has.
pub(crate) fn push_logs(
    config: &RegistryConfig,
    client: &Client,
) -> Result<Vec<RemotePeer<Connection>>, AddressError> {
    let peer = |addr: &String| {
        Ok(RemotePeer {
            name: addr.clone(),
            transport: client.connect(addr)?,
        })
    };
    config.fixed.logics.iter().map(peer).collect()
}

fn targets(nodes: &Snapshot) -> Vec<Target> {
    let nodes = nodes.as_deref().unwrap_or_default();
    let target = |node: &halley_proto::halley::node::NodeStatus| Target {
        addr: node.grpc.trim_start_matches(SCHEME).to_owned(),
        draining: node.draining,
    };
    nodes.iter().map(target).collect()
}
