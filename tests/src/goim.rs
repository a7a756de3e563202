//! Fleets of goim's nodes and Halley's over real Kafka, Redis and discovery.
//!
//! Halley's nodes run with what `halley import-goim` makes of goim's files.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::slice::from_mut;
use std::time::Duration;

use anyhow::ensure;
use halley_engines::{Kafka, KafkaOptions, KafkaVersion, Redis};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

mod mix;
mod plan;
mod process;

pub use mix::{Kind, Mix, Nodes};

use plan::Plan;
use process::Process;

/// How long a process may take to do what it is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The programs.
#[derive(Debug)]
pub struct Binaries {
    /// The binary of that name.
    pub halley: PathBuf,
    /// The folder with `goim-comet`, `goim-logic`, `goim-job` and `discovery`.
    pub goim: PathBuf,
}

/// What fleets share.
#[derive(Debug)]
pub struct Engines {
    /// Carries the pushes.
    pub kafka: Kafka,
    /// Knows the sessions.
    pub redis: Redis,
}

/// A running mix; everything but the engines is killed with this value.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// Whose nodes they are.
    pub mix: Mix,
    /// Who holds the clients.
    pub comets: Vec<Comet>,
    /// Who takes the pushes.
    pub logics: Vec<Logic>,
    /// Who feeds ends before who is fed.
    job: Process,
    /// The comets and the logics.
    others: Vec<Process>,
    /// Held for the nodes, which ask it.
    _discovery: Process,
    plan: Plan<'a>,
}

/// A comet of a fleet.
#[derive(Debug)]
pub struct Comet {
    /// As the node list has it.
    pub name: String,
    /// Clients over TCP.
    pub tcp: SocketAddr,
    /// Clients over WebSocket.
    pub websocket: SocketAddr,
}

/// A logic of a fleet.
#[derive(Debug)]
pub struct Logic {
    /// Whose it is.
    pub kind: Kind,
    /// Where pushes go.
    pub http: SocketAddr,
}

impl Engines {
    /// Starts both; what goim's client cannot do with later versions decides which.
    pub fn start() -> anyhow::Result<Self> {
        // goim's client asks for topics that it expects to be made.
        let properties = [
            ("auto.create.topics.enable", "true"),
            ("num.partitions", "4"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Self {
            kafka: Kafka::start(&KafkaOptions {
                version: KafkaVersion::V3_9,
                properties: BTreeMap::from(properties),
                ..KafkaOptions::default()
            })?,
            redis: Redis::start()?,
        })
    }
}

impl<'a> Fleet<'a> {
    /// Starts every node, and waits until they know each other.
    pub async fn start(
        mix: Mix,
        binaries: &'a Binaries,
        engines: &'a Engines,
    ) -> anyhow::Result<Self> {
        let mut plan = Plan::new(mix, binaries, engines)?;
        let mut discovery = plan.discovery()?;
        accepts(local(plan.discovery), from_mut(&mut discovery)).await?;
        let mut processes = Vec::new();
        let mut comets = Vec::new();
        for (kind, number) in mix.comet.kinds().iter().zip(1..) {
            let (comet, process) = plan.comet(*kind, number)?;
            processes.push(process);
            accepts(comet.tcp, &mut processes).await?;
            comets.push(comet);
        }
        let mut logics = Vec::new();
        for (kind, number) in mix.logic.kinds().iter().zip(1..) {
            let (logic, process) = plan.logic(*kind, number)?;
            processes.push(process);
            accepts(logic.http, &mut processes).await?;
            logics.push(logic);
        }
        // goim's job ends when it starts before there is a comet.
        plan.registered("comet", comets.len(), &mut processes)
            .await?;
        plan.registered("logic", logics.len(), &mut processes)
            .await?;
        Ok(Self {
            mix,
            comets,
            logics,
            job: plan.job(mix.job)?,
            others: processes,
            _discovery: discovery,
            plan,
        })
    }

    /// The processes of the nodes.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.others.iter().chain([&self.job]).map(Process::id)
    }

    /// Ends the job in order.
    pub async fn end_job(&mut self) -> anyhow::Result<()> {
        self.job.end().await
    }

    /// Starts a job of the other kind in its place.
    pub fn exchange_job(&mut self) -> anyhow::Result<()> {
        let other = match self.mix.job {
            Kind::Goim => Kind::Halley,
            Kind::Halley => Kind::Goim,
        };
        self.job = self.plan.job(other)?;
        Ok(())
    }

    /// Leaves configurations and logs behind for a person to read.
    pub fn keep_logs(&mut self) -> &Path {
        self.plan.dir.disable_cleanup(true);
        self.plan.dir.path()
    }
}

async fn accepts(address: SocketAddr, processes: &mut [Process]) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_err() {
        running(processes)?;
        ensure!(Instant::now() < until, "nothing listens on {address}");
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn running(processes: &mut [Process]) -> anyhow::Result<()> {
    processes.iter_mut().try_for_each(Process::still_runs)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
