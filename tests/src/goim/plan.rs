//! How the nodes of a fleet are configured and started.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::process::Process;
use super::{Binaries, Comet, Engines, Kind, LOOK_AGAIN, Logic, Mix, PATIENCE, local, running};
use crate::unconfigured;

/// What goim's processes are told by flags and variables.
const PLACE: [(&str, &str, &str); 3] = [
    ("-region", "REGION", "north"),
    ("-zone", "ZONE", "north-1"),
    ("-deploy.env", "DEPLOY_ENV", "test"),
];

#[derive(Debug)]
pub(super) struct Plan<'a> {
    binaries: &'a Binaries,
    engines: &'a Engines,
    pub(super) discovery: u16,
    next_port: u16,
    /// What goim's nodes take for the address of this machine.
    machine: IpAddr,
    /// Of the topic and the group: nothing is left over from an earlier mix.
    name: String,
    pub(super) dir: TempDir,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        mix: Mix,
        binaries: &'a Binaries,
        engines: &'a Engines,
    ) -> anyhow::Result<Self> {
        let mut next_port = 8100;
        Ok(Self {
            binaries,
            engines,
            discovery: free_port(&mut next_port)?,
            next_port,
            machine: own_address()?,
            name: format!("push-{}", mix.to_string().replace('/', "-")),
            dir: TempDir::with_prefix("goim-fleet-")?,
        })
    }

    pub(super) fn discovery(&self) -> anyhow::Result<Process> {
        let port = self.discovery;
        let config = format!(
            "nodes = [\"127.0.0.1:{port}\"]\n\
             [env]\nregion = \"north\"\nzone = \"north-1\"\nhost = \"discovery-1\"\nDeployEnv = \"test\"\n\
             [httpServer]\naddr = \"127.0.0.1:{port}\"\n\
             [httpClient]\ndial = \"1s\"\nkeepAlive = \"120s\"\n"
        );
        fs::write(self.dir.path().join("discovery.toml"), config)?;
        let mut command = Command::new(self.binaries.goim.join("discovery"));
        command.args(["-conf", "discovery.toml", "-logtostderr"]);
        Process::start("discovery", command, self.dir.path())
    }

    pub(super) fn comet(&mut self, kind: Kind, number: usize) -> anyhow::Result<(Comet, Process)> {
        let tcp = local(free_port(&mut self.next_port)?);
        let websocket = local(free_port(&mut self.next_port)?);
        let grpc = free_port(&mut self.next_port)?;
        let config = format!(
            "[discovery]\nnodes = [\"127.0.0.1:{}\"]\n\
             [rpcServer]\naddr = \":{grpc}\"\n\
             [tcp]\nbind = [\"{tcp}\"]\n\
             [websocket]\nbind = [\"{websocket}\"]\n\
             [whitelist]\nWhitelist = []\nWhiteLog = \"white.log\"\n",
            self.discovery
        );
        let name = format!("comet-{number}");
        let advertise = SocketAddr::new(self.machine, grpc);
        let process = match kind {
            Kind::Goim => self.goim(&name, &config, &["-weight", "10", "-addrs", "127.0.0.1"]),
            Kind::Halley => self.halley(
                &name,
                &config,
                &[
                    format!("comet.server={name}"),
                    "comet.addrs=127.0.0.1".to_owned(),
                    format!("comet.rpc.advertise={advertise}"),
                ],
            ),
        }?;
        let comet = Comet {
            name,
            tcp,
            websocket,
        };
        Ok((comet, process))
    }

    pub(super) fn logic(&mut self, kind: Kind, number: usize) -> anyhow::Result<(Logic, Process)> {
        let http = local(free_port(&mut self.next_port)?);
        let grpc = free_port(&mut self.next_port)?;
        let config = format!(
            "[discovery]\nnodes = [\"127.0.0.1:{discovery}\"]\n\
             [node]\ndefaultDomain = \"127.0.0.1\"\nhostDomain = \"\"\nheartbeat = \"4m\"\nheartbeatMax = 2\n\
             tcpPort = 3101\nwsPort = 3102\nwssPort = 3103\nregionWeight = 1.6\n\
             [backoff]\nmaxDelay = 300\nbaseDelay = 3\nfactor = 1.8\njitter = 0.3\n\
             [rpcServer]\naddr = \":{grpc}\"\n\
             [httpServer]\nnetwork = \"tcp\"\naddr = \"{http}\"\n\
             [kafka]\ntopic = \"{name}\"\nbrokers = [\"{brokers}\"]\n\
             [redis]\nnetwork = \"tcp\"\naddr = \"127.0.0.1:{redis}\"\nactive = 100\nidle = 10\n\
             dialTimeout = \"200ms\"\nreadTimeout = \"500ms\"\nwriteTimeout = \"500ms\"\n\
             idleTimeout = \"120s\"\nexpire = \"30m\"\n",
            discovery = self.discovery,
            name = self.name,
            brokers = self.engines.kafka.brokers(),
            redis = self.engines.redis.port(),
        );
        let name = format!("logic-{number}");
        let advertise = SocketAddr::new(self.machine, grpc);
        let process = match kind {
            Kind::Goim => self.goim(&name, &config, &["-weight", "10"]),
            Kind::Halley => self.halley(
                &name,
                &config,
                &[
                    format!("logic.server={name}"),
                    format!("logic.rpc.advertise={advertise}"),
                ],
            ),
        }?;
        Ok((Logic { kind, http }, process))
    }

    pub(super) fn job(&self, kind: Kind) -> anyhow::Result<Process> {
        let config = format!(
            "[discovery]\nnodes = [\"127.0.0.1:{discovery}\"]\n\
             [kafka]\ntopic = \"{name}\"\ngroup = \"{name}\"\nbrokers = [\"{brokers}\"]\n",
            discovery = self.discovery,
            name = self.name,
            brokers = self.engines.kafka.brokers(),
        );
        // Either may come after the other.
        let name = format!("job-{kind}");
        match kind {
            Kind::Goim => self.goim(&name, &config, &[]),
            Kind::Halley => self.halley(&name, &config, &[]),
        }
    }

    fn goim(&self, name: &str, config: &str, args: &[&str]) -> anyhow::Result<Process> {
        let file = self.write(name, config)?;
        let mut command = Command::new(self.binaries.goim.join(format!("goim-{}", role(name))));
        command
            .args(["-conf", &file, "-host", name, "-logtostderr"])
            .args(args);
        for (flag, variable, value) in PLACE {
            command.args([flag, value]).env(variable, value);
        }
        Process::start(name, command, self.dir.path())
    }

    /// Starts a node with what `import-goim` makes of goim's file.
    fn halley(&self, name: &str, config: &str, sets: &[String]) -> anyhow::Result<Process> {
        let goim = self.write(&format!("{name}-goim"), config)?;
        let file = format!("{name}.toml");
        let mut import = unconfigured(&self.binaries.halley);
        import
            .args(["import-goim", &goim, "--output", &file])
            .envs(PLACE.map(|(_, variable, value)| (variable, value)))
            .current_dir(self.dir.path());
        let imported = import.output()?;
        ensure!(
            imported.status.success(),
            "halley import-goim: {}",
            String::from_utf8_lossy(&imported.stderr)
        );
        let mut command = unconfigured(&self.binaries.halley);
        command.args([role(name), "--config", &file]);
        command.args(sets.iter().map(|set| format!("--set={set}")));
        Process::start(name, command, self.dir.path())
    }

    fn write(&self, name: &str, config: &str) -> anyhow::Result<String> {
        let file = format!("{name}.toml");
        fs::write(self.dir.path().join(&file), config)?;
        Ok(file)
    }

    /// Waits until discovery knows so many nodes of a role.
    pub(super) async fn registered(
        &self,
        role: &str,
        count: usize,
        processes: &mut [Process],
    ) -> anyhow::Result<()> {
        let url = format!(
            "http://{}/discovery/polls?env=test&hostname=fleet&appid=goim.{role}&latest_timestamp=0",
            local(self.discovery)
        );
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let answer = reqwest::get(&url).await?.text().await?;
            if answer.matches("\"hostname\"").count() >= count {
                return Ok(());
            }
            running(processes)?;
            sleep(LOOK_AGAIN).await;
        }
        bail!("discovery does not know {count} {role}")
    }
}

/// The role in a name such as `comet-1`.
fn role(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
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
