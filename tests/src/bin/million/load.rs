//! The load, and what is seen while it stands.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::fleet::Fleet;
use crate::memory::{Memory, resident, resident_of_children};
use crate::{FREE_MIN_BYTES, gib};

/// The whole run.
const RUN_MAX: Duration = Duration::from_mins(11);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);
pub(crate) const ROOMS: u32 = 10;

/// What was found.
pub(crate) struct Found {
    pub(crate) connections: u32,
    pub(crate) comets: usize,
    /// What the load tool found.
    pub(crate) stress: Value,
    pub(crate) standing: Standing,
    pub(crate) cpu: Cpu,
    /// Least memory that was available.
    pub(crate) free_min: u64,
    pub(crate) took: Duration,
}

/// With all connections open.
pub(crate) struct Standing {
    pub(crate) online: u64,
    /// Members of the largest rooms.
    pub(crate) rooms: Vec<u64>,
    pub(crate) logic: Growth,
    pub(crate) job: Growth,
    pub(crate) comets: Growth,
    /// Of the load tool.
    pub(crate) workers: u64,
    pub(crate) worker_count: usize,
    pub(crate) slab: Growth,
}

/// Seconds of CPU time while pushing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) comets: f64,
    pub(crate) logic: f64,
    pub(crate) job: f64,
}

/// Bytes before the first connection and with all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Of the servers.
#[derive(Clone, Copy)]
struct Reading {
    logic: u64,
    job: u64,
    comets: u64,
    slab: u64,
}

pub(crate) async fn run(halley: &Path, fleet: &Fleet, connections: u32) -> anyhow::Result<Found> {
    let started = Instant::now();
    let before = Reading::take(fleet)?;
    let mut stress = start(halley, fleet, connections)?;
    let mut output = stress.stdout.take().context("open the output")?;
    let read = TaskTracker::new().spawn(async move {
        let mut text = String::new();
        output.read_to_string(&mut text).await.map(|_| text)
    });
    let mut free_min = u64::MAX;
    let mut standing = None;
    while stress.try_wait()?.is_none() {
        let free = Memory::read()?.available;
        free_min = free_min.min(free);
        ensure!(
            free >= FREE_MIN_BYTES,
            "only {:.1} GiB are free: ended before the machine runs out of memory",
            gib(free)
        );
        ensure!(started.elapsed() < RUN_MAX, "it takes too long");
        if standing.is_none() {
            // With all cores busy an answer may not come in time: there is a next look.
            match look(fleet, &stress, before, connections).await {
                Ok(found) => standing = found,
                Err(error) => eprintln!("{error:#}"),
            }
        }
        sleep(LOOK_AGAIN).await;
    }
    let text = read.await.context("read the output")??;
    let stress: Value = serde_json::from_str(&text).context("understand the report")?;
    Ok(Found {
        connections,
        comets: fleet.comets.len(),
        cpu: Cpu::of(fleet, &stress),
        stress,
        standing: standing.context("not all connections were open at the same time")?,
        free_min,
        took: started.elapsed(),
    })
}

fn start(halley: &Path, fleet: &Fleet, connections: u32) -> anyhow::Result<Child> {
    let (tcp, websocket) = fleet.targets();
    let http = format!("http://{}", fleet.http);
    let mut command = Command::new(halley);
    command.args(["stress", "rooms", "--json", "--transport", "mixed"]);
    command.args(["--members", &connections.to_string()]);
    command.args(["--rooms", &ROOMS.to_string(), "--exponent", "0"]);
    // Nine to rooms and two to everyone: three messages for each connection.
    command.args([
        "--rate",
        "0.15",
        "--broadcasts",
        "0.034",
        "--duration",
        "60s",
    ]);
    command.args(["--tcp", &tcp, "--ws", &websocket, "--http", &http]);
    command.args([
        "--connect-rate",
        "20000",
        "--opening",
        "440",
        "--connect-timeout",
        "60s",
    ]);
    command.args(["--heartbeat", "2m", "--straggle", "60s", "--limit", "10m"]);
    for pid in fleet.pids() {
        command.args(["--server-pid", &pid.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start halley stress")
}

/// What there is once all connections are online; `None` before.
async fn look(
    fleet: &Fleet,
    stress: &Child,
    before: Reading,
    connections: u32,
) -> anyhow::Result<Option<Standing>> {
    let total = ask(fleet, "/goim/online/total").await?;
    let online = total["conn_count"].as_u64().context("no conn_count")?;
    if online < u64::from(connections) {
        return Ok(None);
    }
    let top = format!("/goim/online/top?type=stress&limit={}", 2 * ROOMS);
    let top = ask(fleet, &top).await?;
    let rooms = top.as_array().context("no rooms")?;
    let after = Reading::take(fleet)?;
    let (workers, worker_count) = resident_of_children(stress.id().unwrap_or_default());
    let growth = |of: fn(&Reading) -> u64| Growth {
        before: of(&before),
        after: of(&after),
    };
    Ok(Some(Standing {
        online,
        rooms: rooms
            .iter()
            .filter_map(|room| room["count"].as_u64())
            .collect(),
        logic: growth(|reading| reading.logic),
        job: growth(|reading| reading.job),
        comets: growth(|reading| reading.comets),
        workers,
        worker_count,
        slab: growth(|reading| reading.slab),
    }))
}

async fn ask(fleet: &Fleet, path: &str) -> anyhow::Result<Value> {
    let url = format!("http://{}{path}", fleet.http);
    let answer = async { reqwest::get(url).await?.text().await };
    let text = timeout(ANSWER_MAX, answer)
        .await
        .with_context(|| format!("ask for {path}"))??;
    let mut answer: Value = serde_json::from_str(&text)?;
    if answer["code"] != 0 {
        bail!("{path}: {text}");
    }
    Ok(answer["data"].take())
}

impl Cpu {
    /// Of each process, as the load tool has read it.
    fn of(fleet: &Fleet, stress: &Value) -> Self {
        let processes = stress["server"]["processes"].as_array();
        let of = |node: &halley_tests::cluster::Node| {
            let process = processes.into_iter().flatten().find(|process| {
                let pid = process["pid"].as_u64();
                pid.is_some() && pid == node.pid().map(u64::from)
            });
            process.map_or(f64::NAN, |process| {
                process["cpu_seconds"].as_f64().unwrap_or(f64::NAN)
            })
        };
        Self {
            comets: fleet.comets.iter().map(of).sum(),
            logic: of(&fleet.logic),
            job: of(&fleet.job),
        }
    }
}

impl Reading {
    fn take(fleet: &Fleet) -> anyhow::Result<Self> {
        let of = |node: &halley_tests::cluster::Node| node.pid().map_or(0, resident);
        Ok(Self {
            logic: of(&fleet.logic),
            job: of(&fleet.job),
            comets: fleet.comets.iter().map(of).sum(),
            slab: Memory::read()?.slab,
        })
    }
}
