//! The command line.

mod scenarios;
mod values;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use halley_client::{Endpoint, TlsOptions};

pub(crate) use self::scenarios::{
    Address, CrowdArgs, IdleArgs, MixedArgs, PushArgs, RoomArgs, RoomsArgs, SoakArgs, StormArgs,
};
pub(crate) use self::values::BYTE_UNITS;
use self::values::duration;
use crate::expect::Expectation;
use crate::messages::{Target, TransportMix, Upgrade};
use crate::payload::{SEQ_MAX, STAMP_BYTES};

/// The environment variable of the push API's key.
pub const PUSH_KEY_VARIABLE: &str = "HALLEY_STRESS_PUSH_KEY";

/// Loads a goim-compatible server and accounts for every message.
#[derive(Clone, Debug, Args)]
pub struct StressArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Open many connections, keep them alive, weigh them.
    Idle(IdleArgs),
    /// Push to one room and check every message at every member.
    Room(RoomArgs),
    /// Push to many rooms, few of them large and busy, and check every message.
    Rooms(RoomsArgs),
    /// Push to single users and check every message.
    Push(PushArgs),
    /// Drop many connections at once and time their way back, or connect again and again.
    Storm(StormArgs),
    /// Users who come, go, change rooms and read late, while rooms and users are pushed to.
    Mixed(MixedArgs),
    /// The same for hours, and whether the server grows.
    Soak(SoakArgs),
}

/// What all pushing scenarios share.
#[derive(Clone, Debug, Args)]
pub(crate) struct PushesArgs {
    /// How long to push.
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Length of each body in bytes; at least 28.
    #[arg(short, long, default_value_t = 90)]
    pub(crate) size: u32,
    /// How long to wait for messages after the last push.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) straggle: Duration,
    /// How long a push may take to be answered.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) push_timeout: Duration,
    /// logic's HTTP address.
    #[arg(long, default_value = "http://127.0.0.1:3111")]
    pub(crate) http: String,
    /// Bearer key of the push API.
    #[arg(long, env = PUSH_KEY_VARIABLE, hide_env_values = true)]
    pub(crate) push_key: Option<String>,
}

/// What all scenarios share.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    /// How members connect.
    #[arg(short, long, value_enum, default_value_t = TransportMix::Tcp)]
    pub(crate) transport: TransportMix,
    /// comet's TCP address, host:port or tls://host:port. Of several the members take turns.
    #[arg(long, default_value = "127.0.0.1:3101", value_delimiter = ',')]
    pub(crate) tcp: Vec<String>,
    /// comet's WebSocket address, ws:// or wss://. Of several the members take turns.
    #[arg(long, default_value = "ws://127.0.0.1:3102/sub", value_delimiter = ',')]
    pub(crate) ws: Vec<String>,
    /// File with the certificate authorities to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Worker processes; as many as the open-file limit asks for by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Receiving threads per worker process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Loopback addresses to connect from; as many as the ports ask for by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) sources: Option<u32>,
    /// Connections that may be opening at the same time, over all workers; 256 for each receiving thread by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) opening: Option<u32>,
    /// How long a connection may take until its first heartbeat is answered.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// Time between two heartbeats of a connection.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// The operation of the pushes.
    #[arg(long, default_value_t = 1000, allow_negative_numbers = true)]
    pub(crate) operation: i32,
    /// Process of the server, for its memory and CPU time; found by its ports by default. May be repeated.
    #[arg(long)]
    pub(crate) server_pid: Vec<u32>,
    /// What the figures have to be, such as 'loss=0,p99<50ms'; else the run fails.
    #[arg(long, value_name = "FIGURE<VALUE,…", value_delimiter = ',')]
    pub(crate) expect: Vec<Expectation>,
    /// End the run as a failure if it takes longer; by default a minute more than twice what it should take.
    #[arg(long, value_parser = duration)]
    pub(crate) limit: Option<Duration>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with plots, which needs no other file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// The operations of goim's own protocol, which a push must not use: a client could not tell them apart.
const PROTOCOL_OPERATIONS: std::ops::RangeInclusive<i32> = 0..=17;
/// What a run may take beyond twice the time of its schedule.
const LIMIT_EXTRA: Duration = Duration::from_mins(1);

impl StressArgs {
    pub(crate) fn common(&self) -> &CommonArgs {
        match &self.scenario {
            Scenario::Idle(args) => &args.common,
            Scenario::Room(args) => &args.common,
            Scenario::Rooms(args) => &args.common,
            Scenario::Push(args) => &args.common,
            Scenario::Storm(args) => &args.common,
            Scenario::Mixed(args) => &args.common,
            Scenario::Soak(args) => &args.mixed.common,
        }
    }

    /// Finds what clap cannot: settings that do not fit each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.common().check()?;
        match &self.scenario {
            Scenario::Idle(_) => Ok(()),
            Scenario::Room(args) => args.pushes.check(&[args.rate]),
            Scenario::Rooms(args) => args.pushes.check(&[args.rate, args.broadcasts]),
            Scenario::Push(args) => args.pushes.check(&[args.rate]),
            Scenario::Storm(args) => args.check(),
            Scenario::Mixed(args) => args.check(),
            Scenario::Soak(args) => args.check(),
        }
    }

    /// How long the run may take.
    pub(crate) fn limit(&self) -> Duration {
        let common = self.common();
        let (connecting, then) = match &self.scenario {
            Scenario::Idle(args) => (connecting(args.connections, args.rate), args.duration),
            Scenario::Room(args) => (
                connecting(args.members, args.connect_rate),
                args.pushes.time() + args.calm * 2,
            ),
            Scenario::Rooms(args) => (
                connecting(args.members, args.connect_rate),
                args.pushes.time(),
            ),
            Scenario::Push(args) => (
                connecting(args.users, args.connect_rate),
                args.pushes.time(),
            ),
            Scenario::Storm(args) => (connecting(args.connections, args.connect_rate), args.time()),
            Scenario::Mixed(args) | Scenario::Soak(SoakArgs { mixed: args, .. }) => (
                connecting(args.users, args.connect_rate),
                args.pushes.time(),
            ),
        };
        let planned = connecting + common.connect_timeout + then;
        common.limit.unwrap_or(planned * 2 + LIMIT_EXTRA)
    }
}

fn connecting(connections: u32, per_second: f64) -> Duration {
    Duration::from_secs_f64(f64::from(connections) / per_second)
}

impl CommonArgs {
    /// Where members connect over TCP; nowhere if they do not.
    pub(crate) async fn tcp_targets(&self) -> anyhow::Result<Vec<Target>> {
        targets(self.tcp_endpoints()?).await.context("--tcp")
    }

    /// Where members connect over WebSocket; nowhere if they do not.
    pub(crate) async fn websocket_targets(&self) -> anyhow::Result<Vec<Target>> {
        targets(self.websocket_endpoints()?).await.context("--ws")
    }

    fn tcp_endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        if self.transport == TransportMix::Ws {
            return Ok(Vec::new());
        }
        let endpoint = |text: &String| {
            let uri = if text.contains("://") {
                text.clone()
            } else {
                format!("tcp://{text}")
            };
            let endpoint: Endpoint = uri.parse().context("--tcp")?;
            if endpoint.transport().is_websocket() {
                bail!("--tcp: {text} is not host:port or tls://host:port");
            }
            Ok(endpoint)
        };
        self.tcp.iter().map(endpoint).collect()
    }

    fn websocket_endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        if self.transport == TransportMix::Tcp {
            return Ok(Vec::new());
        }
        let endpoint = |uri: &String| {
            let endpoint: Endpoint = uri.parse().context("--ws")?;
            if !endpoint.transport().is_websocket() {
                bail!("--ws: {uri} is not ws://host:port/path or wss://host:port/path");
            }
            Ok(endpoint)
        };
        self.ws.iter().map(endpoint).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        if PROTOCOL_OPERATIONS.contains(&self.operation) {
            bail!("--operation: 0 to 17 belong to the protocol itself");
        }
        if self.connect_timeout.is_zero() || self.heartbeat.is_zero() {
            bail!("--connect-timeout and --heartbeat must be longer than nothing");
        }
        if let Some(file) = &self.ca {
            TlsOptions::trust_file(file).context("--ca")?;
        }
        self.tcp_endpoints()?;
        self.websocket_endpoints()?;
        if let Some(page) = &self.html {
            // What is there stays until there is a page.
            let page = File::options().create(true).append(true).open(page);
            page.context("--html")?;
        }
        Ok(())
    }
}

impl PushesArgs {
    pub(crate) async fn target(&self) -> anyhow::Result<crate::pusher::Target> {
        let (authority, base_path) = self.logic()?;
        Ok(crate::pusher::Target {
            address: resolve(&authority).await.context("--http")?,
            authority,
            base_path,
            push_key: self.push_key.clone(),
            timeout: self.push_timeout,
        })
    }

    /// logic's host and port, and the path before those of its API.
    fn logic(&self) -> anyhow::Result<(String, String)> {
        let uri: http::Uri = self.http.parse().context("--http")?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("--http: {} is not http://host:port", self.http);
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok((authority, uri.path().trim_end_matches('/').to_owned()))
    }

    fn check(&self, rates: &[f64]) -> anyhow::Result<()> {
        self.logic()?;
        if (self.size as usize) < STAMP_BYTES {
            bail!("--size: the stamp of a message needs {STAMP_BYTES} bytes");
        }
        let planned = rates.iter().sum::<f64>() * self.duration.as_secs_f64();
        if !(1.0..f64::from(SEQ_MAX)).contains(&planned) {
            bail!("the rates and --duration: {planned} pushes are not between 1 and {SEQ_MAX}");
        }
        Ok(())
    }

    fn time(&self) -> Duration {
        self.duration + self.push_timeout + self.straggle
    }
}

async fn targets(endpoints: Vec<Endpoint>) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for endpoint in endpoints {
        targets.push(target(&endpoint).await?);
    }
    Ok(targets)
}

async fn target(endpoint: &Endpoint) -> anyhow::Result<Target> {
    let transport = endpoint.transport();
    Ok(Target {
        address: resolve(&endpoint.authority()).await?,
        tls_name: transport.is_tls().then(|| endpoint.host().to_owned()),
        upgrade: transport.is_websocket().then(|| Upgrade {
            authority: endpoint.authority(),
            path: endpoint.path().to_owned(),
        }),
    })
}

async fn resolve(authority: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host(authority)
        .await
        .with_context(|| format!("resolve {authority}"))?;
    addresses
        .next()
        .with_context(|| format!("resolve {authority}"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        stress: StressArgs,
    }

    fn parse(line: &str) -> Result<StressArgs, clap::Error> {
        Cli::try_parse_from(format!("halley {line}").split(' ')).map(|cli| cli.stress)
    }

    #[test]
    fn every_scenario_works_without_flags() {
        for scenario in ["idle", "room", "rooms", "push", "storm", "mixed", "soak"] {
            parse(scenario).unwrap().check().unwrap();
        }
        parse("storm --churn -n 0").unwrap().check().unwrap();
    }

    #[test]
    fn refuses_what_cannot_work() {
        for line in [
            "idle -n 0",
            "room --rate 0",
            "room --rate nan",
            "push --closed-loop --rate 5",
            "room --workers 0",
            "rooms --rooms 0",
            "rooms --exponent -1",
            "storm --share 1.5",
            "storm --rate 5",
            "room --expect loss",
            "room --expect nonsense=0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "room --size 27",
            "room --operation 9",
            "room --rate 0.1 --duration 1s",
            "room --rate 1000000 --duration 2h",
            "idle --heartbeat 0s",
            "storm -n 0",
            "storm --share 0",
            "mixed --rate 0 --user-rate 0",
            "soak --warm-up 2h --duration 1h",
            "room --tcp 127.0.0.1:port",
            "room --tcp ws://127.0.0.1:3102/sub",
            "idle --transport ws --ws tcp://127.0.0.1:3101",
            "idle --transport mixed --ws http://127.0.0.1",
            "room --http 127.0.0.1:3111",
            "push --http https://127.0.0.1:3111",
            "idle --html /nowhere/page.html",
        ] {
            assert!(parse(line).unwrap().check().is_err(), "{line}");
        }
    }

    #[test]
    fn an_address_of_a_transport_that_is_not_used_does_not_matter() {
        for line in [
            "idle --ws nonsense",
            "idle --transport ws --tcp nonsense://",
        ] {
            parse(line).unwrap().check().unwrap();
        }
    }

    #[test]
    fn every_flag_is_explained() {
        let document = include_str!("../../docs/stress.md");
        for scenario in Cli::command().get_subcommands() {
            let flags = scenario.get_arguments().filter_map(clap::Arg::get_long);
            for word in flags
                .map(|flag| format!("--{flag}"))
                .chain([scenario.get_name().to_owned()])
            {
                assert!(document.contains(&format!("`{word}`")), "{word}");
            }
        }
    }

    #[test]
    fn a_run_has_a_limit() {
        let limit = |line| parse(line).unwrap().limit();
        assert_eq!(limit("room --limit 7s"), Duration::from_secs(7));
        assert_eq!(
            limit("idle -n 2000 --rate 1000 -d 20s --connect-timeout 8s"),
            Duration::from_mins(2)
        );
        assert!(limit("soak -d 8h") > Duration::from_hours(8));
        assert!(limit("storm --storms 5 --within 10s") > Duration::from_secs(50));
    }

    #[test]
    fn scenarios_have_defaults_of_their_own() {
        let Scenario::Soak(soak) = parse("soak").unwrap().scenario else {
            panic!()
        };
        assert_eq!(soak.mixed.pushes.duration, Duration::from_hours(1));
        assert_eq!(
            parse("storm").unwrap().common().heartbeat,
            Duration::from_secs(1)
        );
        assert_eq!(
            parse("room").unwrap().common().heartbeat,
            Duration::from_mins(1)
        );
    }
}
