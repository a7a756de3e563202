//! The other processes of a distributed system, from a fixed list.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use halley_backend::push_log::RemotePeer;
use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};

/// Who the others are, and how connections to them are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Peers {
    /// gRPC addresses of the logics, `host:port`.
    pub(crate) logic: Vec<String>,
    pub(crate) comets: Vec<CometPeer>,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) keepalive_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) keepalive_timeout: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CometPeer {
    /// Its `comet.server`.
    pub(crate) server: String,
    /// Its gRPC address, `host:port`.
    pub(crate) addr: String,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            logic: Vec::new(),
            comets: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

impl Peers {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for addr in &self.logic {
            self.endpoint(addr).context("peers.logic")?;
        }
        let mut servers: Vec<&str> = Vec::with_capacity(self.comets.len());
        for CometPeer { server, addr } in &self.comets {
            self.endpoint(addr).context("peers.comets")?;
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

    /// To any of the logics; connects on first use.
    pub(crate) fn logic_channel(&self) -> anyhow::Result<Channel> {
        let endpoints = self
            .logic
            .iter()
            .map(|addr| self.endpoint(addr))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(match endpoints.as_slice() {
            // A channel that balances reports a lone peer's absence less clearly.
            [only] => only.connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        })
    }

    /// To each of the logics, for what only that one has.
    pub(crate) fn push_logs(&self) -> anyhow::Result<Vec<RemotePeer>> {
        self.logic
            .iter()
            .map(|addr| {
                Ok(RemotePeer {
                    name: addr.clone(),
                    channel: self.endpoint(addr)?.connect_lazy(),
                })
            })
            .collect()
    }

    pub(crate) fn comet_channel(&self, peer: &CometPeer) -> anyhow::Result<Channel> {
        Ok(self.endpoint(&peer.addr)?.connect_lazy())
    }

    fn endpoint(&self, addr: &str) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))
            .ok()
            .filter(|endpoint| endpoint.uri().port().is_some())
            .with_context(|| format!("{addr:?} is not host:port"))?;
        Ok(endpoint
            .tcp_nodelay(true)
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true))
    }
}
