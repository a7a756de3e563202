//! A run from its first connection to its report.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

use super::{Finished, Stage, milliseconds};
use crate::args::{CommonArgs, PushesArgs};
use crate::clock::{now_ns, thread_cpu_ns};
use crate::crew::Crew;
use crate::expect::Expectation;
use crate::interrupt::Interrupt;
use crate::messages::{Day, Layout, Opened, Plan, Settled, TransportMix};
use crate::progress::{seconds_since, show, words};
use crate::pusher::{Load, Pushed, Target, push};
use crate::report::{Findings, Own, Pushing, Readings, Report};
use crate::sampler::Sampler;
use crate::series::Series;
use crate::server::Server;

/// Descriptors of a process that are not members: standard streams, epoll, timers, pushing lanes.
const FILES_RESERVED: u64 = 512;
/// Connections that one thread opens at the same time.
const OPENING: u32 = 256;
/// Connections that one source address carries. Linux has 28,232 ephemeral ports by default, and searches ever longer
/// for a free one.
const PORTS_PER_SOURCE: u32 = 4_000;
/// Ports for connections that open and close again and again: one rests after its connection's end, and the kernel
/// searches longer for the next the more of them do.
const CHURN_PORTS: u32 = 60_000;
/// Times that each server's turn comes, at least: they get equal shares of the members but for one part in so many.
const TURNS: u32 = 64;
/// Members in a turn, at most: neighbours connect to the same server, which so finds its caches warm.
const TURN_MAX: u32 = 256;
/// The width of a worker's interval, milliseconds.
const INTERVAL_MS: u64 = 250;
/// With more workers the coordinator would be busy with their intervals: they are wider.
const WORKERS_OFTEN: u32 = 4;
const INTERVAL_MANY_MS: u64 = 1000;
/// Time between two looks at the server's processes.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// What a scenario wants of its members.
pub(super) struct Members {
    pub(super) count: u32,
    pub(super) connect_rate: f64,
    pub(super) size_bytes: usize,
    pub(super) layout: Layout,
    /// The share that storms drop. Its ports are taken twice for a while.
    pub(super) dropped_share: f64,
    pub(super) day: Option<Day>,
    /// Connections beside the members.
    pub(super) lanes: u32,
    pub(super) sample_every: Duration,
}

impl Members {
    /// Members that stay.
    pub(super) fn new(count: u32, connect_rate: f64, size_bytes: u32, layout: Layout) -> Self {
        Self {
            count,
            connect_rate,
            size_bytes: size_bytes as usize,
            layout,
            dropped_share: 0.0,
            day: None,
            lanes: 0,
            sample_every: SAMPLE_EVERY,
        }
    }
}

/// A run whose connections are open.
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) crew: Crew,
    pub(super) server: Server,
    pub(super) readings: Readings,
    pub(super) series: Arc<Mutex<Series>>,
    pub(super) interrupt: Interrupt,
    pub(super) own: Own,
    scenario: &'static str,
    transport: TransportMix,
    size_bytes: usize,
    wanted: u64,
    expectations: Vec<Expectation>,
    opened: Opened,
    sampler: Sampler,
    /// Pushes that have ended.
    pushes: Arc<AtomicU64>,
    pushing: Option<Pushing>,
}

impl Run {
    pub(super) async fn open(
        scenario: &'static str,
        common: &CommonArgs,
        members: &Members,
        other_addresses: &[SocketAddr],
        stage: &Stage<'_>,
    ) -> anyhow::Result<Self> {
        let (whole, workers, server) = plan(common, members, other_addresses).await?;
        let series = Arc::new(Mutex::new(Series::new(whole.epoch_ns, whole.interval_ms)));
        let wanted = (0..whole.members).filter(|member| whole.starts_online(*member));
        let wanted = wanted.count() as u64;
        let plans = divide(&whole, workers);
        let mut crew = Crew::start(plans, at_a_time(workers), &series, stage.tracker)?;
        let mut readings = Readings {
            before: server.read(),
            ..Readings::default()
        };
        let pushes = Arc::new(AtomicU64::new(0));
        let sampler = Sampler::start(
            members.sample_every,
            Arc::clone(&series),
            server.clone(),
            crew.progress(),
            Arc::clone(&pushes),
        )
        .context("start to sample")?;
        let progress = crew.progress();
        let describe = move || {
            let progress = progress();
            (progress.ready + progress.failed, words(progress))
        };
        let opening = crew.open(&stage.interrupt.token);
        let opened = show("connect", wanted, describe, opening).await?;
        readings.connected = server.read();
        Ok(Self {
            id: whole.run,
            crew,
            server,
            readings,
            series,
            interrupt: stage.interrupt.clone(),
            own: Own::default(),
            scenario,
            transport: common.transport,
            size_bytes: members.size_bytes,
            wanted,
            expectations: common.expect.clone(),
            opened,
            sampler,
            pushes,
            pushing: None,
        })
    }

    /// Leaves the connections alone for a while; `None` if that was interrupted.
    pub(super) async fn hold(&self, title: &'static str, duration: Duration) -> Option<()> {
        let (start, progress) = (Instant::now(), self.crew.progress());
        let hold = tokio::time::sleep(duration);
        let hold = self.interrupt.token.run_until_cancelled(hold);
        let describe = || (seconds_since(start), words(progress()));
        show(title, duration.as_secs(), describe, hold).await
    }

    /// Pushes all loads at the same time and waits for what comes of them.
    pub(super) async fn push(
        &mut self,
        target: &Target,
        loads: Vec<Load>,
        settings: &PushesArgs,
    ) -> anyhow::Result<Settled> {
        self.crew.begin().await?;
        let total = loads.iter().map(Load::total).sum::<Option<u64>>();
        let cpu_before_ns = thread_cpu_ns();
        let progress = self.crew.progress();
        let describe = || (self.pushes.load(Ordering::Relaxed), words(progress()));
        let work = self.push_all(target, loads);
        let pushed = show("push", total.unwrap_or(0), describe, work).await?;
        let cpu_ns = thread_cpu_ns().saturating_sub(cpu_before_ns);
        let settling = self
            .crew
            .settle(&pushed.streams, milliseconds(settings.straggle));
        let describe = || (0, words(progress()));
        let settled = show("settle", 0, describe, settling).await?;
        self.readings.end = self.server.read();
        self.pushing = Some(Pushing {
            pushed,
            size_bytes: self.size_bytes as u64,
            cpu_ns,
        });
        Ok(settled)
    }

    async fn push_all(&self, target: &Target, loads: Vec<Load>) -> anyhow::Result<Pushed> {
        let stopped = self.interrupt.token.child_token();
        if self.wanted > 0 && self.opened.ready == 0 {
            // Without a single member every push would be wasted.
            stopped.cancel();
        }
        let start = |load| {
            let pushes = Arc::clone(&self.pushes);
            let on_sent = move || {
                pushes.fetch_add(1, Ordering::Relaxed);
            };
            push(target.clone(), load, stopped.clone(), on_sent)
        };
        let mut loads = loads.into_iter();
        let first = loads.next().context("find something to push")?;
        // There are two kinds of pushes at most.
        let (first, second) = match loads.next() {
            None => (start(first).await, None),
            Some(second) => {
                let (first, second) = tokio::join!(start(first), start(second));
                (first, Some(second))
            }
        };
        let mut pushed = first.context("push")?;
        if let Some(second) = second {
            pushed.merge(second.context("push")?);
        }
        Ok(pushed)
    }

    /// When the last push was sent, if there were any.
    pub(super) fn last_push_ns(&self) -> Option<u64> {
        Some(self.pushing.as_ref()?.pushed.last_sent_ns)
    }

    pub(super) fn finish(self, settled: Settled) -> Finished {
        drop(self.sampler);
        let series = self.series.lock().clone();
        let report = Report::new(&Findings {
            scenario: self.scenario,
            run: self.id,
            transport: match self.transport {
                TransportMix::Tcp => "tcp",
                TransportMix::Ws => "ws",
                TransportMix::Mixed => "mixed",
            }
            .to_owned(),
            wanted: self.wanted,
            workers: self.crew.len() as u64,
            interrupted: self.interrupt.token.is_cancelled(),
            overdue_after: self
                .interrupt
                .overdue_after()
                .map(|limit| limit.as_secs_f64()),
            expectations: self.expectations,
            opened: self.opened,
            settled,
            pushing: self.pushing,
            server: self.server,
            readings: self.readings,
            own: self.own,
        });
        Finished { report, series }
    }
}

/// What all workers together are to do, how many there are to be, and the server's processes.
async fn plan(
    common: &CommonArgs,
    members: &Members,
    other_addresses: &[SocketAddr],
) -> anyhow::Result<(Plan, u32, Server)> {
    let tcp = common.tcp_targets().await?;
    let websocket = common.websocket_targets().await?;
    let used = match common.transport {
        TransportMix::Tcp => [tcp.as_slice(), &[]],
        TransportMix::Ws => [&[], websocket.as_slice()],
        TransportMix::Mixed => [tcp.as_slice(), &websocket],
    };
    let used = used.into_iter().flatten();
    let client_side: Vec<_> = used.map(|target| target.address).collect();
    let addresses = [&client_side, other_addresses].concat();
    let connections = members.count.saturating_add(members.lanes);
    let open_files = open_files()?;
    let workers = common
        .workers
        .unwrap_or_else(|| workers_needed(connections, open_files));
    let mut ports = connections;
    if members.dropped_share > 0.0 {
        ports = ports.saturating_mul(2);
    }
    if members.lanes > 0 {
        ports = ports.saturating_add(CHURN_PORTS);
    }
    let targets = u32::try_from(tcp.len().max(websocket.len()).max(1)).unwrap_or(u32::MAX);
    let plan = Plan {
        run: rand::random(),
        first: 0,
        members: members.count,
        transport: common.transport,
        tcp,
        websocket,
        ca: common.ca.clone(),
        turn: (members.count / targets.saturating_mul(TURNS)).clamp(1, TURN_MAX),
        connect_rate: members.connect_rate,
        opening: match common.opening {
            Some(opening) => opening.div_ceil(at_a_time(workers).saturating_mul(common.threads)),
            None => OPENING,
        },
        connect_timeout_ms: milliseconds(common.connect_timeout),
        heartbeat_ms: milliseconds(common.heartbeat),
        sources: sources(common, ports, &client_side),
        threads: common.threads,
        operation: common.operation,
        size_bytes: members.size_bytes,
        layout: members.layout,
        dropped_share: members.dropped_share,
        day: members.day,
        epoch_ns: now_ns(),
        interval_ms: if workers > WORKERS_OFTEN {
            INTERVAL_MANY_MS
        } else {
            INTERVAL_MS
        },
    };
    Ok((plan, workers, Server::find(&common.server_pid, &addresses)))
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
fn sources(common: &CommonArgs, ports: u32, addresses: &[SocketAddr]) -> u32 {
    let needed = ports.div_ceil(PORTS_PER_SOURCE);
    let loopback = addresses
        .iter()
        .all(|address| address.ip().is_loopback() && address.is_ipv4());
    match common.sources {
        _ if !loopback => 0,
        Some(sources) => sources,
        None if needed > 1 => needed,
        None => 0,
    }
}

/// Workers that open connections at the same time: more than there are cores would only take turns on those, with the
/// caches of each cold whenever its turn comes.
fn at_a_time(workers: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    workers.clamp(1, u32::try_from(cores).unwrap_or(u32::MAX))
}

/// Equal shares of the members and of the rates.
fn divide(whole: &Plan, workers: u32) -> Vec<Plan> {
    let workers = workers.max(1);
    let (share, rest) = (whole.members / workers, whole.members % workers);
    let mut first = whole.first;
    (0..workers)
        .map(|worker| {
            let members = share + u32::from(worker < rest);
            let part = f64::from(members) / f64::from(whole.members.max(1));
            let plan = Plan {
                first,
                members,
                connect_rate: whole.connect_rate / f64::from(at_a_time(workers)),
                day: whole.day.map(|day| Day {
                    turnover_per_second: day.turnover_per_second * part,
                    changes_per_second: day.changes_per_second * part,
                    ..day
                }),
                ..whole.clone()
            };
            first += members;
            plan
        })
        .collect()
}
