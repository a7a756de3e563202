//! Nodes as DNS has them, such as a headless service of Kubernetes.
//!
//! A name that begins with `_` is asked for its SRV records: each target is a
//! node, named by its first label. Any other name is asked for its addresses:
//! each is a node, named by it. Nodes announce themselves by being ready there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use halley_proto::halley::node::NodeStatus;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::poll::{Pace, Source, Watches};
use super::roster::{Answer, Missing};
use super::{Lease, Registry, RegistryError, Role, Snapshot};
use crate::backoff::Backoff;

/// What names are asked for, of whom and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Name of the comets.
    pub comets: String,
    /// Name of the logics.
    pub logics: String,
    /// gRPC port of comets found by address.
    pub comet_port: u16,
    /// gRPC port of logics found by address.
    pub logic_port: u16,
    /// Name servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// From one question to the next.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time in which a question must be answered, by any of the servers.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long known nodes stay while the name has no records.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            comets: String::new(),
            logics: String::new(),
            comet_port: 3109,
            logic_port: 3119,
            servers: Vec::new(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            grace: Duration::from_mins(1),
        }
    }
}

/// The nodes that DNS knows.
pub struct DnsRegistry {
    comets: Service,
    logics: Service,
    resolver: TokioResolver,
    timeout: Duration,
    pace: Pace,
    watches: Watches,
}

/// A name, and the port of what is found by address.
#[derive(Clone, Debug)]
struct Service {
    name: Name,
    port: u16,
}

struct Resolve {
    service: Service,
    resolver: TokioResolver,
    timeout: Duration,
}

/// Why DNS gave no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("no answer in time")]
    Timeout,
}

impl DnsRegistry {
    /// Asks nobody before someone watches.
    pub fn new(config: &DnsConfig, backoff: Backoff) -> Result<Self, RegistryError> {
        config.check()?;
        Ok(Self {
            comets: Service::new("dns.comets", &config.comets, config.comet_port)?,
            logics: Service::new("dns.logics", &config.logics, config.logic_port)?,
            resolver: resolver(config)
                .map_err(|error| RegistryError::new("dns.servers", error.to_string()))?,
            timeout: config.timeout,
            pace: Pace {
                interval: config.interval,
                backoff,
                grace: config.grace,
            },
            watches: Watches::default(),
        })
    }
}

impl DnsConfig {
    pub(super) fn check(&self) -> Result<(), RegistryError> {
        Service::new("dns.comets", &self.comets, self.comet_port)?;
        Service::new("dns.logics", &self.logics, self.logic_port)?;
        RegistryError::unless_lasting("dns.interval", self.interval)?;
        RegistryError::unless_lasting("dns.timeout", self.timeout)
    }
}

impl fmt::Debug for DnsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsRegistry")
            .field("comets", &self.comets)
            .field("logics", &self.logics)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Registry for DnsRegistry {
    async fn announce(&self, _: Role, _: watch::Receiver<NodeStatus>) -> Lease {
        Lease::unneeded()
    }

    fn watch(&self, role: Role) -> watch::Receiver<Snapshot> {
        let service = match role {
            Role::Comet => &self.comets,
            Role::Logic => &self.logics,
        };
        self.watches.watch(role, self.pace, || Resolve {
            service: service.clone(),
            resolver: self.resolver.clone(),
            timeout: self.timeout,
        })
    }
}

impl Source for Resolve {
    type Error = AskError;

    async fn ask(&mut self, _: Option<Instant>) -> Result<Option<Answer>, AskError> {
        let nodes = timeout(self.timeout, self.service.nodes(&self.resolver))
            .await
            .map_err(|_| AskError::Timeout)?;
        let (nodes, missing) = match nodes {
            Ok(nodes) => (nodes, Missing::Gone),
            // No node is ready, or the name's records are lost.
            Err(error) if error.is_no_records_found() => (Vec::new(), Missing::Stay),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Answer {
            alive: nodes.into_iter().map(|node| (node, None)).collect(),
            left: Vec::new(),
            missing,
        }))
    }
}

impl Service {
    fn new(key: &'static str, name: &str, port: u16) -> Result<Self, RegistryError> {
        if name.is_empty() {
            return Err(RegistryError::new(key, "is empty"));
        }
        let name = Name::from_ascii(name)
            .map_err(|error| RegistryError::new(key, format!("is no name: {error}")))?;
        Ok(Self { name, port })
    }

    async fn nodes(&self, resolver: &TokioResolver) -> Result<Vec<NodeStatus>, NetError> {
        let name = self.name.clone();
        if name
            .iter()
            .next()
            .is_some_and(|label| label.starts_with(b"_"))
        {
            return Ok(targets(&resolver.lookup(name, RecordType::SRV).await?));
        }
        let addresses = resolver.lookup_ip(name).await?;
        let nodes = addresses.iter().map(|ip| self.at(ip.to_canonical()));
        Ok(nodes.collect())
    }

    fn at(&self, ip: IpAddr) -> NodeStatus {
        NodeStatus {
            hostname: ip.to_string(),
            grpc: format!("grpc://{}", SocketAddr::new(ip, self.port)),
            ..NodeStatus::default()
        }
    }
}

/// The nodes of SRV records. The target stays a name in the address, so that
/// whoever connects finds where it is then.
fn targets(lookup: &Lookup) -> Vec<NodeStatus> {
    let targets = lookup.answers().iter().filter_map(|record| {
        let RData::SRV(srv) = &record.data else {
            return None;
        };
        let target = srv.target.to_utf8();
        let target = target.trim_end_matches('.');
        let (label, _) = target.split_once('.').unwrap_or((target, ""));
        // A target of `.` says that there is no such service.
        (!label.is_empty()).then(|| NodeStatus {
            hostname: label.to_owned(),
            grpc: format!("grpc://{target}:{}", srv.port),
            ..NodeStatus::default()
        })
    });
    targets.collect()
}

fn resolver(config: &DnsConfig) -> Result<TokioResolver, NetError> {
    let mut builder = if config.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = config.servers.iter().map(|server| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(servers.collect()),
            TokioRuntimeProvider::default(),
        )
    };
    let options = builder.options_mut();
    // Each question is for what is so now.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}
