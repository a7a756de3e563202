//! The other processes of a distributed system, from a fixed list.

use anyhow::{Context as _, ensure};
use halley_backend::push_log::RemotePeer;
use halley_backend::registry::Snapshot;
use halley_node::Registry;
use halley_node::grpc::{AddressError, Balanced, BalancedConfig, Client, Connection, Target};
use halley_proto::halley::node::NodeStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Who the others are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Peers {
    /// gRPC addresses of the logics, `host:port`.
    pub(crate) logic: Vec<String>,
    pub(crate) comets: Vec<CometPeer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CometPeer {
    /// Its `comet.server`.
    pub(crate) server: String,
    /// Its gRPC address, `host:port`.
    pub(crate) addr: String,
}

impl Peers {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for addr in &self.logic {
            Client::check(addr).context("peers.logic")?;
        }
        let mut servers: Vec<&str> = Vec::with_capacity(self.comets.len());
        for CometPeer { server, addr } in &self.comets {
            Client::check(addr).context("peers.comets")?;
            ensure!(
                !server.is_empty(),
                "peers.comets: {addr} has no server name"
            );
            ensure!(
                !servers.contains(&server.as_str()),
                "peers.comets: {server} is listed twice"
            );
            servers.push(server);
        }
        Ok(())
    }

    /// The comets as a registry that never changes.
    pub(crate) fn nodes(&self) -> watch::Receiver<Snapshot> {
        let nodes = self.comets.iter().map(|peer| NodeStatus {
            hostname: peer.server.clone(),
            grpc: peer.addr.clone(),
            ..NodeStatus::default()
        });
        watch::channel(Some(nodes.collect())).1
    }

    /// To any of the logics; connects on first use.
    pub(crate) fn any_logic(
        &self,
        client: &Client,
        config: BalancedConfig,
        registry: &mut Registry,
    ) -> Balanced {
        let targets = self.logic.iter().map(|addr| Target {
            addr: addr.clone(),
            draining: false,
        });
        let (_, targets) = watch::channel(targets.collect());
        Balanced::new("logic", client.clone(), config, targets, registry)
    }

    /// To each of the logics, for what only that one has.
    pub(crate) fn push_logs(
        &self,
        client: &Client,
    ) -> Result<Vec<RemotePeer<Connection>>, AddressError> {
        self.logic
            .iter()
            .map(|addr| {
                Ok(RemotePeer {
                    name: addr.clone(),
                    transport: client.connect(addr)?,
                })
            })
            .collect()
    }
}
