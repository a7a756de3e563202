//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use halley_client::{Endpoint, Transport};

use crate::messages::{TransportMix, WebsocketTarget};
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
    /// Push to single users and check every message.
    Push(PushArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    /// Connections to open.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) connections: u32,
    /// Connections to open per second.
    #[arg(short, long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long to hold the connections once all are open.
    #[arg(short, long, default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Members of each room.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_members: u32,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RoomArgs {
    /// Members of the room.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) members: u32,
    /// Pushes per second, sent on time whatever the answers do.
    #[arg(short, long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Connections to open per second.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes that may wait for their answer at the same time. 1 keeps a strict order.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) pushes: PushesArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PushArgs {
    /// Users, each with one connection.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) users: u32,
    /// Pushes per second over all users, sent on time whatever the answers do.
    #[arg(short, long, default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Push as fast as the answers come instead.
    #[arg(long, conflicts_with = "rate")]
    pub(crate) closed_loop: bool,
    /// What users are addressed by.
    #[arg(long, value_enum, default_value_t = Address::Keys)]
    pub(crate) by: Address,
    /// Connections to open per second.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes that may wait for their answer at the same time.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) pushes: PushesArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Address {
    /// By the name of their connection.
    Keys,
    /// By their user id.
    Mids,
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
    /// comet's TCP address.
    #[arg(long, default_value = "127.0.0.1:3101")]
    pub(crate) tcp: String,
    /// comet's WebSocket address.
    #[arg(long, default_value = "ws://127.0.0.1:3102/sub")]
    pub(crate) ws: String,
    /// Worker processes; as many as the open-file limit asks for by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Receiving threads per worker process.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Loopback addresses to connect from; as many as the ports ask for by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) sources: Option<u32>,
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
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The operations of goim's own protocol, which a push must not use: a client could not tell them apart.
const PROTOCOL_OPERATIONS: std::ops::RangeInclusive<i32> = 0..=17;

impl StressArgs {
    pub(crate) fn common(&self) -> &CommonArgs {
        match &self.scenario {
            Scenario::Idle(args) => &args.common,
            Scenario::Room(args) => &args.common,
            Scenario::Push(args) => &args.common,
        }
    }

    /// Finds what clap cannot: settings that do not fit each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let common = self.common();
        if PROTOCOL_OPERATIONS.contains(&common.operation) {
            bail!("--operation: 0 to 17 belong to the protocol itself");
        }
        if common.connect_timeout.is_zero() || common.heartbeat.is_zero() {
            bail!("--connect-timeout and --heartbeat must be longer than nothing");
        }
        let (pushes, rate) = match &self.scenario {
            Scenario::Idle(_) => return Ok(()),
            Scenario::Room(args) => (&args.pushes, args.rate),
            Scenario::Push(args) => (&args.pushes, args.rate),
        };
        if (pushes.size as usize) < STAMP_BYTES {
            bail!("--size: the stamp of a message needs {STAMP_BYTES} bytes");
        }
        let planned = rate * pushes.duration.as_secs_f64();
        if !(1.0..f64::from(SEQ_MAX)).contains(&planned) {
            bail!("--rate and --duration: {planned} pushes are not between 1 and {SEQ_MAX}");
        }
        Ok(())
    }
}

impl CommonArgs {
    pub(crate) async fn tcp_target(&self) -> anyhow::Result<SocketAddr> {
        resolve(&self.tcp).await.context("--tcp")
    }

    pub(crate) async fn websocket_target(&self) -> anyhow::Result<WebsocketTarget> {
        let endpoint: Endpoint = self.ws.parse().context("--ws")?;
        if endpoint.transport() != Transport::Websocket {
            bail!("--ws: {} is not ws://host:port/path", self.ws);
        }
        Ok(WebsocketTarget {
            address: resolve(&endpoint.authority()).await.context("--ws")?,
            authority: endpoint.authority(),
            path: endpoint.path().to_owned(),
        })
    }
}

impl PushesArgs {
    pub(crate) async fn target(&self) -> anyhow::Result<crate::pusher::Target> {
        let uri: http::Uri = self.http.parse().context("--http")?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("--http: {} is not http://host:port", self.http);
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(crate::pusher::Target {
            address: resolve(&authority).await.context("--http")?,
            authority,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            push_key: self.push_key.clone(),
            timeout: self.push_timeout,
        })
    }
}

async fn resolve(authority: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host(authority)
        .await
        .with_context(|| format!("resolve {authority}"))?;
    addresses
        .next()
        .with_context(|| format!("resolve {authority}"))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("not a number between 0.001 and 10000000".to_owned()),
    }
}

/// `500ms`, `30s`, `5m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: f64 = 7.0 * 86_400.0;
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            Some(number * seconds)
        })
        .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "not a duration like 500ms, 30s, 5m or 2h, at most a week".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

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
        for scenario in ["idle", "room", "push"] {
            parse(scenario).unwrap().check().unwrap();
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        for bad in ["", "5", "s", "-1s", "1d", "nans", "infs", "9999h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for line in [
            "idle -n 0",
            "room --rate 0",
            "room --rate nan",
            "push --closed-loop --rate 5",
            "room --workers 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "room --size 27",
            "room --operation 9",
            "room --rate 0.1 --duration 1s",
            "room --rate 1000000 --duration 2h",
            "idle --heartbeat 0s",
        ] {
            assert!(parse(line).unwrap().check().is_err(), "{line}");
        }
    }
}
