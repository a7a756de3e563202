//! Processes of both kinds, and how they are configured.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use halley_engines::{Kafka, Redis};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::process::Process;

/// How long a process may take to do what it is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What goim's processes are told by flags and variables.
const PLACE: [(&str, &str, &str); 3] = [
    ("-region", "REGION", "north"),
    ("-zone", "ZONE", "north-1"),
    ("-deploy.env", "DEPLOY_ENV", "test"),
];

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Goim,
    Halley,
}

/// Which of the roles is whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) comet: Kind,
    pub(crate) logic: Kind,
    pub(crate) job: Kind,
}

#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) halley: PathBuf,
    /// With `goim-comet`, `goim-logic`, `goim-job` and `discovery` in it.
    pub(crate) goim: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Engines {
    pub(crate) kafka: Kafka,
    pub(crate) redis: Redis,
}

/// A running mix; everything but the engines is killed with this value.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) mix: Mix,
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
    pub(crate) http: SocketAddr,
    processes: Vec<Process>,
    dir: TempDir,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Goim => "goim",
            Self::Halley => "halley",
        })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.comet, self.logic, self.job)
    }
}

impl Mix {
    pub(crate) fn all() -> Vec<Self> {
        let kinds = [Kind::Goim, Kind::Halley];
        let mixes = kinds.into_iter().flat_map(|comet| {
            kinds
                .into_iter()
                .flat_map(move |logic| kinds.into_iter().map(move |job| Self { comet, logic, job }))
        });
        mixes.collect()
    }
}

impl Fleet {
    pub(crate) async fn start(
        mix: Mix,
        binaries: &Binaries,
        engines: &Engines,
    ) -> anyhow::Result<Self> {
        let plan = Plan::new(mix, binaries, engines)?;
        plan.write_configs()?;
        let mut processes = vec![plan.discovery()?];
        accepts(plan.ports.discovery, &mut processes).await?;
        processes.push(plan.role("comet", mix.comet)?);
        accepts(plan.ports.tcp, &mut processes).await?;
        processes.push(plan.role("logic", mix.logic)?);
        accepts(plan.ports.http, &mut processes).await?;
        // goim's job ends when it starts before there is a comet.
        plan.registered("goim.comet", &mut processes).await?;
        plan.registered("goim.logic", &mut processes).await?;
        processes.push(plan.role("job", mix.job)?);
        let Plan { ports, dir, .. } = plan;
        Ok(Self {
            mix,
            tcp: local(ports.tcp),
            websocket: local(ports.websocket),
            http: local(ports.http),
            processes,
            dir,
        })
    }

    /// Leaves configurations and logs behind for a person to read.
    pub(crate) fn keep_logs(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // In the order in which a person would: who feeds ends first.
        while self.processes.pop().is_some() {}
    }
}

struct Plan<'a> {
    binaries: &'a Binaries,
    engines: &'a Engines,
    ports: Ports,
    /// What goim's nodes take for the address of this machine.
    machine: IpAddr,
    /// Of the topic and the group: nothing is left over from an earlier mix.
    name: String,
    dir: TempDir,
}

struct Ports {
    discovery: u16,
    tcp: u16,
    websocket: u16,
    comet: u16,
    http: u16,
    logic: u16,
}

impl<'a> Plan<'a> {
    fn new(mix: Mix, binaries: &'a Binaries, engines: &'a Engines) -> anyhow::Result<Self> {
        let mut next = 8100;
        let mut port = || free_port(&mut next);
        Ok(Self {
            binaries,
            engines,
            ports: Ports {
                discovery: port()?,
                tcp: port()?,
                websocket: port()?,
                comet: port()?,
                http: port()?,
                logic: port()?,
            },
            machine: own_address()?,
            name: format!("push-{}", mix.to_string().replace('/', "-")),
            dir: TempDir::with_prefix("goim-fleet-")?,
        })
    }

    /// goim's files, and Halley's out of them.
    fn write_configs(&self) -> anyhow::Result<()> {
        let Ports {
            discovery,
            tcp,
            websocket,
            comet,
            http,
            logic,
        } = &self.ports;
        let name = &self.name;
        let brokers = self.engines.kafka.brokers();
        let redis = self.engines.redis.port();
        let dir = self.dir.path();
        fs::write(
            dir.join("discovery.toml"),
            format!(
                "nodes = [\"127.0.0.1:{discovery}\"]\n\
                 [env]\nregion = \"north\"\nzone = \"north-1\"\nhost = \"discovery-1\"\nDeployEnv = \"test\"\n\
                 [httpServer]\naddr = \"127.0.0.1:{discovery}\"\n\
                 [httpClient]\ndial = \"1s\"\nkeepAlive = \"120s\"\n"
            ),
        )?;
        fs::write(
            dir.join("comet.toml"),
            format!(
                "[discovery]\nnodes = [\"127.0.0.1:{discovery}\"]\n\
                 [rpcServer]\naddr = \":{comet}\"\n\
                 [tcp]\nbind = [\"127.0.0.1:{tcp}\"]\n\
                 [websocket]\nbind = [\"127.0.0.1:{websocket}\"]\n\
                 [whitelist]\nWhitelist = []\nWhiteLog = \"white.log\"\n"
            ),
        )?;
        fs::write(
            dir.join("logic.toml"),
            format!(
                "[discovery]\nnodes = [\"127.0.0.1:{discovery}\"]\n\
                 [node]\ndefaultDomain = \"127.0.0.1\"\nhostDomain = \"\"\nheartbeat = \"4m\"\nheartbeatMax = 2\n\
                 tcpPort = {tcp}\nwsPort = {websocket}\nwssPort = {websocket}\nregionWeight = 1.6\n\
                 [backoff]\nmaxDelay = 300\nbaseDelay = 3\nfactor = 1.8\njitter = 0.3\n\
                 [rpcServer]\naddr = \":{logic}\"\n\
                 [httpServer]\nnetwork = \"tcp\"\naddr = \"127.0.0.1:{http}\"\n\
                 [kafka]\ntopic = \"{name}\"\nbrokers = [\"{brokers}\"]\n\
                 [redis]\nnetwork = \"tcp\"\naddr = \"127.0.0.1:{redis}\"\nactive = 100\nidle = 10\n\
                 dialTimeout = \"200ms\"\nreadTimeout = \"500ms\"\nwriteTimeout = \"500ms\"\nidleTimeout = \"120s\"\nexpire = \"30m\"\n"
            ),
        )?;
        fs::write(
            dir.join("job.toml"),
            format!(
                "[discovery]\nnodes = [\"127.0.0.1:{discovery}\"]\n\
                 [kafka]\ntopic = \"{name}\"\ngroup = \"{name}\"\nbrokers = [\"{brokers}\"]\n"
            ),
        )?;
        let imported = Command::new(&self.binaries.halley)
            .args(["import-goim", "comet.toml", "logic.toml", "job.toml"])
            .args(["--output", "halley.toml"])
            .envs(PLACE.map(|(_, variable, value)| (variable, value)))
            .current_dir(dir)
            .output()?;
        ensure!(
            imported.status.success(),
            "halley import-goim: {}",
            String::from_utf8_lossy(&imported.stderr)
        );
        Ok(())
    }

    fn discovery(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(self.binaries.goim.join("discovery"));
        command.args(["-conf", "discovery.toml", "-logtostderr"]);
        Process::start("discovery", command, self.dir.path())
    }

    fn role(&self, role: &str, kind: Kind) -> anyhow::Result<Process> {
        let host = format!("{role}-1");
        let mut command = match kind {
            Kind::Goim => {
                let mut command = Command::new(self.binaries.goim.join(format!("goim-{role}")));
                command.args([
                    "-conf",
                    &format!("{role}.toml"),
                    "-host",
                    &host,
                    "-logtostderr",
                ]);
                for (flag, variable, value) in PLACE {
                    command.args([flag, value]).env(variable, value);
                }
                if role != "job" {
                    command.args(["-weight", "10"]);
                }
                if role == "comet" {
                    command.args(["-addrs", "127.0.0.1"]);
                }
                command
            }
            Kind::Halley => {
                let mut command = Command::new(&self.binaries.halley);
                command.args([role, "--config", "halley.toml"]);
                let advertise = |port| SocketAddr::new(self.machine, port).to_string();
                let sets = match role {
                    "comet" => vec![
                        ("comet.server", host),
                        ("comet.addrs", "127.0.0.1".to_owned()),
                        ("comet.rpc.advertise", advertise(self.ports.comet)),
                    ],
                    "logic" => vec![
                        ("logic.server", host),
                        ("logic.rpc.advertise", advertise(self.ports.logic)),
                    ],
                    _ => Vec::new(),
                };
                for (key, value) in sets {
                    command.arg(format!("--set={key}={value}"));
                }
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HALLEY_") {
                command.env_remove(name);
            }
        }
        Process::start(role, command, self.dir.path())
    }

    /// Waits until discovery knows a node of this kind.
    async fn registered(&self, appid: &str, processes: &mut [Process]) -> anyhow::Result<()> {
        let url = format!(
            "http://127.0.0.1:{}/discovery/polls?env=test&hostname=fleet&appid={appid}&latest_timestamp=0",
            self.ports.discovery
        );
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let answer = reqwest::get(&url).await?.text().await?;
            if answer.contains("\"instances\"") {
                return Ok(());
            }
            running(processes)?;
            sleep(LOOK_AGAIN).await;
        }
        bail!("discovery does not know {appid}")
    }
}

async fn accepts(port: u16, processes: &mut [Process]) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(local(port)).await.is_err() {
        running(processes)?;
        ensure!(Instant::now() < until, "nothing listens on {port}");
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

/// goim's nodes listen on all addresses, and at ports that are in their files.
fn free_port(next: &mut u16) -> anyhow::Result<u16> {
    for port in *next..9100 {
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            *next = port + 1;
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// The address from which this machine would speak to others.
fn own_address() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent: this only asks the routes.
    socket
        .connect("198.51.100.1:9")
        .context("this machine has no address but loopback, and goim's nodes need one")?;
    Ok(socket.local_addr()?.ip())
}
