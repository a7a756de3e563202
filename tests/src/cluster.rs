//! A cluster of Halley processes over real Kafka and Redis, on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context as _;
use halley_engines::{Kafka, KafkaOptions, Redis};
use tempfile::TempDir;

pub use node::Node;

mod node;

/// What runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary.
    pub halley: PathBuf,
    /// Logic processes.
    pub logics: usize,
    /// Job processes.
    pub jobs: usize,
    /// Comet processes.
    pub comets: usize,
    /// Kafka brokers.
    pub brokers: u16,
    /// Whether the nodes are where the examples look for them: at 127.0.0.1,
    /// 127.0.0.2 and so on. Otherwise they have addresses of their own.
    pub is_for_people: bool,
    /// Added to every node's configuration.
    pub config: String,
}

/// A running cluster; everything is killed with this value.
#[derive(Debug)]
pub struct Cluster {
    /// Halley's processes end before the engines.
    pub logics: Vec<Logic>,
    /// The jobs.
    pub jobs: Vec<Node>,
    /// The comets.
    pub comets: Vec<Comet>,
    /// Carries the pushes.
    pub kafka: Kafka,
    /// Knows sessions and nodes.
    pub redis: Redis,
    dir: TempDir,
}

/// A logic process.
#[derive(Debug)]
pub struct Logic {
    /// The process.
    pub node: Node,
    /// Where pushes go.
    pub http: SocketAddr,
}

/// A comet process.
#[derive(Debug)]
pub struct Comet {
    /// The process.
    pub node: Node,
    /// Clients over TCP.
    pub tcp: SocketAddr,
    /// Clients over WebSocket.
    pub websocket: SocketAddr,
    /// Jobs.
    pub grpc: SocketAddr,
}

impl Options {
    /// Two logics, two jobs and three comets over one broker.
    pub fn new(halley: PathBuf) -> Self {
        Self {
            halley,
            logics: 2,
            jobs: 2,
            comets: 3,
            brokers: 1,
            is_for_people: false,
            config: String::new(),
        }
    }
}

impl Cluster {
    /// Starts the engines, then every process, and waits until all are ready.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("halley-cluster-")?;
        let kafka = Kafka::start(&KafkaOptions {
            brokers: options.brokers,
            lives_long: options.is_for_people,
            ..KafkaOptions::default()
        })
        .context("start kafka")?;
        let redis = Redis::start().context("start redis")?;
        let plan = Plan {
            options,
            dir: dir.path(),
            shared: shared_config(options, &kafka, &redis),
            network: network(options),
        };
        let logics = (1..=options.logics).map(|number| plan.logic(number));
        let comets = (1..=options.comets).map(|number| plan.comet(number));
        let jobs = (1..=options.jobs).map(|number| plan.job(number));
        let mut cluster = Self {
            logics: logics.collect::<anyhow::Result<_>>()?,
            comets: comets.collect::<anyhow::Result<_>>()?,
            jobs: jobs.collect::<anyhow::Result<_>>()?,
            kafka,
            redis,
            dir,
        };
        for node in cluster.nodes_mut() {
            node.start()?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Waits until every node is ready.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        for node in self.nodes_mut() {
            node.ready().await?;
        }
        Ok(())
    }

    /// Every process: logics, comets, jobs.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let logics = self.logics.iter().map(|logic| &logic.node);
        let comets = self.comets.iter().map(|comet| &comet.node);
        logics.chain(comets).chain(&self.jobs)
    }

    /// Every process: logics, comets, jobs.
    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        let logics = self.logics.iter_mut().map(|logic| &mut logic.node);
        let comets = self.comets.iter_mut().map(|comet| &mut comet.node);
        logics.chain(comets).chain(&mut self.jobs)
    }

    /// Where configurations and logs are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves configurations and logs behind for a person to read.
    pub fn keep_dir(&mut self) {
        self.dir.disable_cleanup(true);
    }
}

/// How nodes are written down.
struct Plan<'a> {
    options: &'a Options,
    dir: &'a Path,
    shared: String,
    network: [u8; 3],
}

impl Plan<'_> {
    fn logic(&self, number: usize) -> anyhow::Result<Logic> {
        let name = format!("logic-{number}");
        let http = self.address(number, 3111)?;
        let grpc = self.address(number, 3119)?;
        let admin = self.address(number, 3110)?;
        let config = format!(
            "{}\n[logic]\nserver = \"{name}\"\n[logic.http]\nbind = \"{http}\"\n\
             [logic.rpc]\nbind = \"{grpc}\"\n[admin]\nbind = \"{admin}\"\n",
            self.shared
        );
        let node = self.node("logic", &name, admin, &config)?;
        Ok(Logic { node, http })
    }

    fn comet(&self, number: usize) -> anyhow::Result<Comet> {
        let name = format!("comet-{number}");
        let tcp = self.address(number, 3101)?;
        let websocket = self.address(number, 3102)?;
        let grpc = self.address(number, 3109)?;
        let admin = self.address(number, 3100)?;
        let config = format!(
            "{}\n[comet]\nserver = \"{name}\"\n[comet.tcp]\nbind = [\"{tcp}\"]\n\
             [comet.websocket]\nbind = [\"{websocket}\"]\n[comet.rpc]\nbind = \"{grpc}\"\n\
             [admin]\nbind = \"{admin}\"\n",
            self.shared
        );
        let node = self.node("comet", &name, admin, &config)?;
        Ok(Comet {
            node,
            tcp,
            websocket,
            grpc,
        })
    }

    fn job(&self, number: usize) -> anyhow::Result<Node> {
        let name = format!("job-{number}");
        let admin = self.address(number, 3120)?;
        let config = format!("{}\n[admin]\nbind = \"{admin}\"\n", self.shared);
        self.node("job", &name, admin, &config)
    }

    fn node(
        &self,
        role: &str,
        name: &str,
        admin: SocketAddr,
        config: &str,
    ) -> anyhow::Result<Node> {
        Node::new(&self.options.halley, self.dir, role, name, admin, config)
    }

    /// Every node has a loopback address of its own, and so goim's ports.
    fn address(&self, number: usize, port: u16) -> anyhow::Result<SocketAddr> {
        let [a, b, c] = self.network;
        let ip = Ipv4Addr::new(a, b, c, u8::try_from(number)?);
        Ok(SocketAddr::new(IpAddr::V4(ip), port))
    }
}

/// The first three numbers of the nodes' addresses.
fn network(options: &Options) -> [u8; 3] {
    static CLUSTERS: AtomicU8 = AtomicU8::new(0);
    if options.is_for_people {
        return [127, 0, 0];
    }
    let [_, _, _, process] = std::process::id().to_be_bytes();
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    [127, 100 + cluster % 100, process]
}

fn shared_config(options: &Options, kafka: &Kafka, redis: &Redis) -> String {
    let replicas = options.brokers.min(3);
    let kafka = kafka.brokers();
    let brokers: Vec<_> = kafka.split(',').collect();
    format!(
        "[kafka]\nbrokers = {brokers:?}\n[push_log]\nkind = \"kafka\"\n\
         [push_log.kafka.create_topic]\nreplication = {replicas}\n\
         [redis]\nurls = [\"{}\"]\n[sessions]\nkind = \"redis\"\n\
         [registry]\nkind = \"redis\"\n{}\n",
        redis.url(),
        options.config,
    )
}
