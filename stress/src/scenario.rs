//! The scenarios: open, do, settle, report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::{
    Address, CommonArgs, IdleArgs, PushArgs, PushesArgs, RoomArgs, Scenario, StressArgs,
};
use crate::clock::thread_cpu_ns;
use crate::crew::Crew;
use crate::interrupt;
use crate::messages::{Opened, Plan, ROOM_TYPE, Settled, TransportMix};
use crate::progress::{seconds_since, show, words};
use crate::pusher::{Load, Pace, Pushed, push};
use crate::report::{Findings, Readings, Report};
use crate::server::Server;

/// Descriptors of a process that are not members: standard streams, epoll, timers, pushing lanes.
const FILES_RESERVED: u64 = 512;
/// Connections that one source address carries. Linux has 28,232 ephemeral ports by default.
const PORTS_PER_SOURCE: u32 = 20_000;
/// How long heartbeats may take to be answered at the end of an idle run.
const IDLE_SETTLE_MS: u64 = 5_000;

/// Runs what the command line asks for.
pub(crate) async fn run(args: &StressArgs) -> anyhow::Result<Report> {
    let tracker = TaskTracker::new();
    let interrupted = interrupt::watch(&tracker);
    match &args.scenario {
        Scenario::Idle(args) => idle(args, &tracker, &interrupted).await,
        Scenario::Room(args) => room(args, &tracker, &interrupted).await,
        Scenario::Push(args) => users(args, &tracker, &interrupted).await,
    }
}

async fn idle(
    args: &IdleArgs,
    tracker: &TaskTracker,
    interrupted: &CancellationToken,
) -> anyhow::Result<Report> {
    let members = Members {
        count: args.connections,
        connect_rate: args.rate,
        size_bytes: 0,
        per_room: args.room_members,
        own_streams: false,
    };
    let mut run = Run::open("idle", &args.common, &members, &[], tracker, interrupted).await?;
    run.begin().await?;
    let (start, progress) = (Instant::now(), run.crew.progress());
    let hold = interrupted.run_until_cancelled(tokio::time::sleep(args.duration));
    let describe = || (seconds_since(start), words(progress()));
    show("hold", args.duration.as_secs(), describe, hold).await;
    run.readings.end = run.server.read();
    let settled = run.crew.settle(&BTreeMap::new(), IDLE_SETTLE_MS).await?;
    Ok(run.report(settled, None))
}

async fn room(
    args: &RoomArgs,
    tracker: &TaskTracker,
    interrupted: &CancellationToken,
) -> anyhow::Result<Report> {
    let members = Members::pushed_to(args.members, args.connect_rate, &args.pushes, false);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let run = Run::open(
        "room",
        &args.common,
        &members,
        &servers,
        tracker,
        interrupted,
    )
    .await?;
    let operation = args.common.operation;
    let room = Plan::room(run.id, 0, 0);
    let load = Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths: vec![format!(
            "/goim/push/room?operation={operation}&type={ROOM_TYPE}&room={room}"
        )],
        pace: open_pace(args.rate, &args.pushes),
        lanes: args.concurrency.into(),
    };
    run.push(target, load, &args.pushes).await
}

async fn users(
    args: &PushArgs,
    tracker: &TaskTracker,
    interrupted: &CancellationToken,
) -> anyhow::Result<Report> {
    let members = Members::pushed_to(args.users, args.connect_rate, &args.pushes, true);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let run = Run::open(
        "push",
        &args.common,
        &members,
        &servers,
        tracker,
        interrupted,
    )
    .await?;
    let operation = args.common.operation;
    let path = |user| match args.by {
        Address::Keys => format!(
            "/goim/push/keys?operation={operation}&keys={}",
            Plan::key(run.id, user)
        ),
        Address::Mids => format!(
            "/goim/push/mids?operation={operation}&mids={}",
            Plan::mid(run.id, user)
        ),
    };
    let load = Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths: (0..args.users).map(path).collect(),
        pace: if args.closed_loop {
            let duration_ns = nanoseconds(args.pushes.duration);
            Pace::Closed { duration_ns }
        } else {
            open_pace(args.rate, &args.pushes)
        },
        lanes: args.concurrency.into(),
    };
    run.push(target, load, &args.pushes).await
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked with the other settings: between 1 and SEQ_MAX"
)]
fn open_pace(per_second: f64, pushes: &PushesArgs) -> Pace {
    Pace::Open {
        per_second,
        total: (per_second * pushes.duration.as_secs_f64()).round() as u64,
        patience_ns: nanoseconds(pushes.push_timeout),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// What a scenario wants of its members.
struct Members {
    count: u32,
    connect_rate: f64,
    size_bytes: usize,
    per_room: u32,
    own_streams: bool,
}

impl Members {
    /// Members of one room, each with a stream of messages to itself or all with the same.
    fn pushed_to(count: u32, connect_rate: f64, pushes: &PushesArgs, own_streams: bool) -> Self {
        Self {
            count,
            connect_rate,
            size_bytes: pushes.size as usize,
            per_room: 0,
            own_streams,
        }
    }
}

/// A run whose connections are open.
struct Run {
    id: u64,
    scenario: &'static str,
    transport: TransportMix,
    wanted: u32,
    crew: Crew,
    opened: Opened,
    server: Server,
    readings: Readings,
    interrupted: CancellationToken,
}

impl Run {
    async fn open(
        scenario: &'static str,
        common: &CommonArgs,
        members: &Members,
        other_addresses: &[SocketAddr],
        tracker: &TaskTracker,
        interrupted: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let id = rand::random();
        let whole = Plan {
            run: id,
            first: 0,
            members: members.count,
            transport: common.transport,
            tcp: common.tcp_target().await?,
            websocket: common.websocket_target().await?,
            connect_rate: members.connect_rate,
            connect_timeout_ms: milliseconds(common.connect_timeout),
            heartbeat_ms: milliseconds(common.heartbeat),
            sources: 0,
            threads: common.threads,
            operation: common.operation,
            size_bytes: members.size_bytes,
            room_members: members.per_room,
            own_streams: members.own_streams,
        };
        let client_side = match common.transport {
            TransportMix::Tcp => vec![whole.tcp],
            TransportMix::Ws => vec![whole.websocket.address],
            TransportMix::Mixed => vec![whole.tcp, whole.websocket.address],
        };
        let sources = sources(common, members.count, &client_side);
        let addresses = [&client_side, other_addresses].concat();
        let server = Server::find(&common.server_pid, &addresses);
        let workers = match common.workers {
            Some(workers) => workers,
            None => workers_needed(members.count, open_files()?),
        };
        let mut crew = Crew::start(divide(&Plan { sources, ..whole }, workers), tracker)?;
        let mut readings = Readings {
            before: server.read(),
            ..Readings::default()
        };
        let progress = crew.progress();
        let describe = move || {
            let progress = progress();
            (progress.ready + progress.failed, words(progress))
        };
        let opening = crew.open(interrupted.cancelled());
        let opened = show("connect", members.count.into(), describe, opening).await?;
        readings.connected = server.read();
        Ok(Self {
            id,
            scenario,
            transport: common.transport,
            wanted: members.count,
            crew,
            opened,
            server,
            readings,
            interrupted: interrupted.clone(),
        })
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        self.crew.begin().await
    }

    async fn push(
        mut self,
        target: crate::pusher::Target,
        load: Load,
        settings: &PushesArgs,
    ) -> anyhow::Result<Report> {
        self.begin().await?;
        let sent = Arc::new(AtomicU64::new(0));
        let total = match load.pace {
            Pace::Open { total, .. } => total,
            Pace::Closed { .. } => 0,
        };
        let size_bytes = load.size_bytes as u64;
        let on_sent = {
            let sent = Arc::clone(&sent);
            move || {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        };
        let cpu_before_ns = thread_cpu_ns();
        let work = async {
            // Without a single member every push would be wasted.
            let stopped = self.interrupted.child_token();
            if self.opened.ready == 0 {
                stopped.cancel();
            }
            push(target, load, stopped, on_sent).await
        };
        let progress = self.crew.progress();
        let describe = || (sent.load(Ordering::Relaxed), words(progress()));
        let pushed = show("push", total, describe, work).await.context("push")?;
        let cpu_ns = thread_cpu_ns().saturating_sub(cpu_before_ns);
        let settling = self
            .crew
            .settle(&pushed.streams, milliseconds(settings.straggle));
        let describe = || (0, words(progress()));
        let settled = show("settle", 0, describe, settling).await?;
        self.readings.end = self.server.read();
        Ok(self.report(settled, Some((pushed, size_bytes, cpu_ns))))
    }

    fn report(self, settled: Settled, pushed: Option<(Pushed, u64, u64)>) -> Report {
        Report::new(&Findings {
            scenario: self.scenario,
            run: self.id,
            transport: match self.transport {
                TransportMix::Tcp => "tcp",
                TransportMix::Ws => "ws",
                TransportMix::Mixed => "mixed",
            }
            .to_owned(),
            wanted: self.wanted.into(),
            workers: self.crew.len() as u64,
            interrupted: self.interrupted.is_cancelled(),
            opened: self.opened,
            settled,
            pushed,
            server: self.server,
            readings: self.readings,
        })
    }
}

/// Raises the open-file limit as far as it goes; workers inherit it.
fn open_files() -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the open-file limit")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn workers_needed(members: u32, open_files: u64) -> u32 {
    let each = open_files.saturating_sub(FILES_RESERVED).max(1);
    u32::try_from(u64::from(members).div_ceil(each)).unwrap_or(u32::MAX)
}

/// How many loopback addresses to connect from: the kernel's own choice while its ports suffice.
fn sources(common: &CommonArgs, members: u32, addresses: &[SocketAddr]) -> u32 {
    let needed = members.div_ceil(PORTS_PER_SOURCE);
    let loopback = addresses
        .iter()
        .all(|address| address.is_ipv4() && address.ip().is_loopback());
    match common.sources {
        _ if !loopback => 0,
        Some(sources) => sources,
        None if needed > 1 => needed,
        None => 0,
    }
}

/// Equal shares of the members and of the rate.
fn divide(whole: &Plan, workers: u32) -> Vec<Plan> {
    let workers = workers.clamp(1, whole.members.max(1));
    let (share, rest) = (whole.members / workers, whole.members % workers);
    let mut first = whole.first;
    (0..workers)
        .map(|worker| {
            let members = share + u32::from(worker < rest);
            let plan = Plan {
                first,
                members,
                connect_rate: whole.connect_rate * f64::from(members)
                    / f64::from(whole.members.max(1)),
                ..whole.clone()
            };
            first += members;
            plan
        })
        .collect()
}
