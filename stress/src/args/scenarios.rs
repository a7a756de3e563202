//! The flags of each scenario.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum, value_parser};

use super::values::{bytes, duration, exponent, rate, rate_or_none, share};
use super::{CommonArgs, PushesArgs};

#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    /// Connections to open.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) connections: u32,
    /// Connections to open per second.
    #[arg(short, long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long to hold the connections once all are open.
    #[arg(short, long, default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Members of each room.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    pub(crate) room_members: u32,
    /// Split the memory of a connection into that of the process and that of the kernel.
    #[arg(long)]
    pub(crate) report: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RoomArgs {
    /// Members of the room.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) members: u32,
    /// Pushes per second, sent on time whatever the answers do.
    #[arg(short, long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How long to leave the server alone before the first push, and again after the last message, before its memory is
    /// looked at.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub(crate) calm: Duration,
    /// Connections to open per second.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes that may wait for their answer at the same time. 1 keeps a strict order.
    #[arg(short, long, default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) pushes: PushesArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Rooms of very different sizes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CrowdArgs {
    /// Rooms.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rooms: u32,
    /// How unequal the rooms are: the exponent of the Zipf distribution of members and pushes. 0 makes all equal.
    #[arg(long, default_value_t = 1.0, value_parser = exponent)]
    pub(crate) exponent: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RoomsArgs {
    /// Members of all rooms together.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) members: u32,
    #[command(flatten)]
    pub(crate) crowd: CrowdArgs,
    /// Pushes per second over all rooms, sent on time whatever the answers do.
    #[arg(short, long, default_value_t = 100.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Pushes to everyone on the server per second, beside those.
    #[arg(long, default_value_t = 0.0, value_parser = rate_or_none)]
    pub(crate) broadcasts: f64,
    /// Connections to open per second.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes that may wait for their answer at the same time. 1 keeps a strict order.
    #[arg(short, long, default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) pushes: PushesArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PushArgs {
    /// Users, each with one connection.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000_000))]
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
    /// Pushes per request, by Halley's own call for many; without it each push is a request to goim's API.
    #[arg(long, value_parser = value_parser!(u16).range(1..=1000))]
    pub(crate) batch: Option<u16>,
    /// Connections to open per second.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes that may wait for their answer at the same time.
    #[arg(short, long, default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
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

#[derive(Clone, Debug, Args)]
#[command(mut_arg("heartbeat", |arg| arg.default_value("1s")))]
pub(crate) struct StormArgs {
    /// Connections that are held.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(0..=10_000_000))]
    pub(crate) connections: u32,
    /// Connections to open per second, before the first storm.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// How often to drop connections.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) storms: u32,
    /// The share of the connections that is dropped; the others show what a storm does to bystanders.
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub(crate) share: f64,
    /// How long to leave the server alone before each storm.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) calm: Duration,
    /// The longest pause before a refused connection tries again; half of it or more.
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub(crate) retry: Duration,
    /// After this time whoever is not back does not try again.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) within: Duration,
    /// Reset connections instead of closing them.
    #[arg(long)]
    pub(crate) reset: bool,
    /// Instead of storms: have other connections log in, close and come again, as fast as it goes.
    #[arg(long, conflicts_with_all = ["storms", "share", "calm", "retry", "within"])]
    pub(crate) churn: bool,
    /// With --churn: so many per second, on time whatever became of the ones before.
    #[arg(short, long, requires = "churn", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// With --churn: connections at the same time.
    #[arg(short, long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) concurrency: u32,
    /// With --churn: for how long.
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MixedArgs {
    /// Users, connected or not.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub(crate) users: u32,
    #[command(flatten)]
    pub(crate) crowd: CrowdArgs,
    /// Pushes to rooms per second, sent on time whatever the answers do.
    #[arg(short, long, default_value_t = 20.0, value_parser = rate_or_none)]
    pub(crate) rate: f64,
    /// Pushes to single users per second.
    #[arg(long, default_value_t = 20.0, value_parser = rate_or_none)]
    pub(crate) user_rate: f64,
    /// Users who disconnect per second; as many connect.
    #[arg(long, default_value_t = 10.0, value_parser = rate_or_none)]
    pub(crate) turnover: f64,
    /// Users who change their room per second.
    #[arg(long, default_value_t = 10.0, value_parser = rate_or_none)]
    pub(crate) changes: f64,
    /// The share of the users who are connected at the start.
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub(crate) online: f64,
    /// The share of the users who read late.
    #[arg(long, default_value_t = 0.02, value_parser = share)]
    pub(crate) slow: f64,
    /// How long they do not read at a time.
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub(crate) slow_pause: Duration,
    /// How long before they leave users need not have received what was pushed; at least as long as the slowest
    /// message takes.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Connections to open per second at the start.
    #[arg(long, default_value_t = 2000.0, value_parser = rate)]
    pub(crate) connect_rate: f64,
    /// Pushes of each kind that may wait for their answer at the same time.
    #[arg(short, long, default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,
    #[command(flatten)]
    pub(crate) pushes: PushesArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Clone, Debug, Args)]
#[command(
    mut_arg("duration", |arg| arg.default_value("1h")),
    mut_arg("users", |arg| arg.default_value("500")),
    mut_arg("turnover", |arg| arg.default_value("2")),
    mut_arg("changes", |arg| arg.default_value("2")),
)]
pub(crate) struct SoakArgs {
    #[command(flatten)]
    pub(crate) mixed: MixedArgs,
    /// The growth per hour of the server's memory above which the run fails. Without it 64MiB are allowed, and a run
    /// of less than ten minutes after its warm-up is not judged.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) growth_max: Option<f64>,
    /// The beginning that does not count as growth; by default a fifth of the duration, ten minutes at most.
    #[arg(long, value_parser = duration)]
    pub(crate) warm_up: Option<Duration>,
    /// Time between two looks at the server's processes.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) sample_every: Duration,
}

const WARM_UP_MAX: Duration = Duration::from_mins(10);

impl StormArgs {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.churn && (self.connections == 0 || self.share <= 0.0) {
            bail!("--connections and --share: there is nothing to drop");
        }
        Ok(())
    }

    /// What it takes from the moment at which all are connected.
    pub(super) fn time(&self) -> Duration {
        if self.churn {
            return self.duration + self.common.connect_timeout;
        }
        (self.calm + self.within + self.retry + self.common.connect_timeout) * self.storms
    }
}

impl MixedArgs {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.pushes.check(&[self.rate, self.user_rate])
    }
}

impl SoakArgs {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.mixed.check()?;
        if self.warm_up() >= self.mixed.pushes.duration {
            bail!("--warm-up and --duration: nothing is left to judge");
        }
        if self.sample_every.is_zero() {
            bail!("--sample-every must be longer than nothing");
        }
        Ok(())
    }

    pub(crate) fn warm_up(&self) -> Duration {
        let fifth = self.mixed.pushes.duration / 5;
        self.warm_up.unwrap_or(fifth.min(WARM_UP_MAX))
    }
}
