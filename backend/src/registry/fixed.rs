//! Nodes from a list in the configuration. They are known for good, whether
//! they live or not.

use std::sync::Arc;

use async_trait::async_trait;
use halley_proto::halley::node::NodeStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Lease, Registry, RegistryError, Role, Snapshot};

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FixedConfig {
    /// Every comet.
    pub comets: Vec<FixedComet>,
    /// gRPC addresses of every logic, `host:port`.
    pub logics: Vec<String>,
}

/// A comet of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedComet {
    /// Its `comet.server`.
    pub server: String,
    /// Its gRPC address, `host:port`.
    pub addr: String,
}

/// The nodes of a list.
#[derive(Debug)]
pub struct FixedRegistry {
    comets: watch::Sender<Snapshot>,
    logics: watch::Sender<Snapshot>,
}

impl FixedRegistry {
    /// The nodes of `config`, or why it is not a list of nodes.
    pub fn new(config: &FixedConfig) -> Result<Self, RegistryError> {
        let comets = config
            .comets
            .iter()
            .map(|comet| node("fixed.comets", &comet.server, &comet.addr));
        let logics = config
            .logics
            .iter()
            .map(|addr| node("fixed.logics", addr, addr));
        Ok(Self {
            comets: snapshot("fixed.comets", comets)?,
            logics: snapshot("fixed.logics", logics)?,
        })
    }
}

#[async_trait]
impl Registry for FixedRegistry {
    async fn announce(&self, _: Role, _: watch::Receiver<NodeStatus>) -> Lease {
        Lease::unneeded()
    }

    fn watch(&self, role: Role) -> watch::Receiver<Snapshot> {
        match role {
            Role::Comet => self.comets.subscribe(),
            Role::Logic => self.logics.subscribe(),
        }
    }
}

fn snapshot(
    key: &'static str,
    nodes: impl Iterator<Item = Result<NodeStatus, RegistryError>>,
) -> Result<watch::Sender<Snapshot>, RegistryError> {
    let mut nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    nodes.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
    let twice = nodes
        .windows(2)
        .find(|pair| pair[0].hostname == pair[1].hostname);
    if let Some([node, _]) = twice {
        return Err(RegistryError::new(
            key,
            format!("lists {:?} twice", node.hostname),
        ));
    }
    Ok(watch::Sender::new(Some(Arc::from(nodes))))
}

fn node(key: &'static str, server: &str, addr: &str) -> Result<NodeStatus, RegistryError> {
    let is_addr = addr
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_addr {
        return Err(RegistryError::new(
            key,
            format!("has {addr:?}, which is not host:port"),
        ));
    }
    if server.is_empty() {
        return Err(RegistryError::new(key, format!("has no name for {addr}")));
    }
    Ok(NodeStatus {
        hostname: server.to_owned(),
        grpc: format!("grpc://{addr}"),
        ..NodeStatus::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(comets: &[(&str, &str)]) -> FixedConfig {
        let comets = comets.iter().map(|(server, addr)| FixedComet {
            server: (*server).to_owned(),
            addr: (*addr).to_owned(),
        });
        FixedConfig {
            comets: comets.collect(),
            logics: vec!["logic:3119".to_owned()],
        }
    }

    #[tokio::test]
    async fn the_list_is_known_at_once() {
        let config = config(&[("b", "10.0.0.2:3109"), ("a", "[::1]:3109")]);
        let registry = FixedRegistry::new(&config).unwrap();

        let comets = registry.watch(Role::Comet).borrow().clone().unwrap();
        let comets: Vec<_> = comets.iter().map(|c| (&*c.hostname, &*c.grpc)).collect();
        assert_eq!(
            comets,
            [("a", "grpc://[::1]:3109"), ("b", "grpc://10.0.0.2:3109")]
        );
        let logics = registry.watch(Role::Logic).borrow().clone().unwrap();
        assert_eq!(logics[0].grpc, "grpc://logic:3119");
    }

    #[test]
    fn what_is_no_list_of_nodes_is_refused() {
        for (comets, problem) in [
            (
                &[("a", "x:1"), ("a", "y:1")][..],
                r#"registry.fixed.comets lists "a" twice"#,
            ),
            (
                &[("a", "x")],
                r#"registry.fixed.comets has "x", which is not host:port"#,
            ),
            (&[("", "x:1")], "registry.fixed.comets has no name for x:1"),
        ] {
            let error = FixedRegistry::new(&config(comets)).unwrap_err();
            assert_eq!(error.to_string(), problem);
        }
    }
}
