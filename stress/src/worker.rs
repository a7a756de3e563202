//! A worker: holds connections, answers the coordinator, and measures what arrives.

mod beats;
mod churn;
mod compare;
mod day;
mod fleet;
mod inbound;
mod life;
mod link;
mod member;
mod post;
mod storm;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::to_vec;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use self::compare::LARGEST_ROOMS;
use self::fleet::Fleet;
use crate::account::Expected;
use crate::clock::now_ns;
use crate::messages::{Command, Event, Interval, Plan};

/// How often a worker looks whether something has changed.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two progress reports.
const PROGRESS_TICKS: u32 = 5;
/// How long a complete worker goes on listening, for messages that come again.
const QUIET: Duration = Duration::from_millis(300);

/// Serves a coordinator until it hangs up.
pub(crate) async fn serve<R, W>(input: R, output: W) -> anyhow::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut worker = Worker {
        input: BufReader::new(input).lines(),
        output,
        fleet: None,
        intervals: Intervals::default(),
        phase: Phase::Idle,
    };
    match worker.run().await {
        Ok(()) => Ok(()),
        Err(error) => {
            // The coordinator may have gone, which is why the report may fail too.
            let _ = worker.say(&Event::Failed(format!("{error:#}"))).await;
            Err(error)
        }
    }
}

struct Worker<R, W> {
    input: Lines<BufReader<R>>,
    output: W,
    fleet: Option<Fleet>,
    intervals: Intervals,
    phase: Phase,
}

/// Where intervals end: at the same moments in all workers.
#[derive(Clone, Copy, Default)]
struct Intervals {
    epoch_ns: u64,
    /// 0 before there is a plan.
    width_ns: u64,
    /// The number of the current one.
    current: u64,
}

enum Phase {
    Idle,
    Opening,
    Storming,
    Churning,
    Settling {
        streams: BTreeMap<u32, Expected>,
        deadline: Instant,
        complete_since: Option<Instant>,
    },
}

impl<R, W> Worker<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_progress = PROGRESS_TICKS;
        loop {
            tokio::select! {
                line = self.input.next_line() => match line.context("read a command")? {
                    None => return Ok(()),
                    Some(line) => self.obey(serde_json::from_str(&line).context("parse a command")?).await?,
                },
                () = self.intervals.interval_over() => self.report_interval().await?,
                _ = ticks.tick() => {
                    self.advance().await?;
                    until_progress -= 1;
                    if until_progress == 0 {
                        until_progress = PROGRESS_TICKS;
                        let progress = self.fleet.as_ref().map(Fleet::progress);
                        self.say(&Event::Progress(progress.unwrap_or_default())).await?;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Open(plan) => {
                self.fleet = Some(Fleet::start(&plan).context("start receiving threads")?);
                self.intervals = Intervals::of(&plan);
                self.phase = Phase::Opening;
            }
            Command::Halt => {
                if let Some(fleet) = &self.fleet {
                    fleet.halt();
                }
            }
            Command::Begin => {
                if let Some(fleet) = &self.fleet {
                    fleet.begin();
                }
                self.say(&Event::Begun).await?;
            }
            Command::Storm(order) => {
                if let Some(fleet) = &self.fleet {
                    fleet.storm(order);
                }
                self.phase = Phase::Storming;
            }
            Command::Churn(order) => {
                if let Some(fleet) = &self.fleet {
                    fleet.churn(order);
                }
                self.phase = Phase::Churning;
            }
            Command::Settle { streams, within_ms } => {
                if let Some(fleet) = &self.fleet {
                    fleet.calm();
                }
                let streams = streams
                    .iter()
                    .map(|(stream, summary)| (*stream, Expected::from(summary)));
                self.phase = Phase::Settling {
                    streams: streams.collect(),
                    deadline: Instant::now() + Duration::from_millis(within_ms),
                    complete_since: None,
                };
            }
        }
        Ok(())
    }

    /// Answers what has been done since the last look.
    async fn advance(&mut self) -> anyhow::Result<()> {
        let Some(fleet) = &self.fleet else {
            return Ok(());
        };
        if let Some(failure) = fleet.failure() {
            bail!("receiving thread: {failure}");
        }
        let answer = match &mut self.phase {
            Phase::Idle => None,
            Phase::Opening => fleet.opened().map(|opened| Event::Opened(Box::new(opened))),
            Phase::Storming => fleet
                .stormed()
                .map(|stormed| Event::Stormed(Box::new(stormed))),
            Phase::Churning => fleet
                .churned()
                .map(|churned| Event::Churned(Box::new(churned))),
            Phase::Settling {
                streams,
                deadline,
                complete_since,
            } => {
                let now = Instant::now();
                let quiet = match (fleet.complete(streams), &complete_since) {
                    (false, _) => {
                        *complete_since = None;
                        false
                    }
                    (true, None) => {
                        *complete_since = Some(now);
                        false
                    }
                    (true, Some(since)) => since.elapsed() >= QUIET,
                };
                if !quiet && now < *deadline {
                    return Ok(());
                }
                return self.settle().await;
            }
        };
        if let Some(answer) = answer {
            self.phase = Phase::Idle;
            self.say(&answer).await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        // The last interval is not over, but its times belong to the whole.
        self.report_interval().await?;
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        if let (Some(fleet), Phase::Settling { streams, .. }) = (&self.fleet, phase) {
            let settled = fleet.settled(&streams);
            self.say(&Event::Settled(Box::new(settled))).await?;
        }
        Ok(())
    }

    async fn report_interval(&mut self) -> anyhow::Result<()> {
        let index = self.intervals.turn();
        let Some(times) = self.fleet.as_mut().map(Fleet::take_times) else {
            return Ok(());
        };
        if times.is_empty() {
            return Ok(());
        }
        self.say(&Event::Interval(Box::new(Interval { index, times })))
            .await
    }

    async fn say(&mut self, event: &Event) -> anyhow::Result<()> {
        let mut line = to_vec(event).context("encode an event")?;
        line.push(b'\n');
        self.output
            .write_all(&line)
            .await
            .context("report an event")?;
        self.output.flush().await.context("report an event")
    }
}

impl Intervals {
    fn of(plan: &Plan) -> Self {
        let mut intervals = Self {
            epoch_ns: plan.epoch_ns,
            width_ns: plan.interval_ms.max(1) * 1_000_000,
            current: 0,
        };
        intervals.turn();
        intervals
    }

    /// Waits for the end of the current interval.
    async fn interval_over(self) {
        if self.width_ns == 0 {
            return std::future::pending().await;
        }
        let end_ns = self.epoch_ns + (self.current + 1) * self.width_ns;
        let left_ns = end_ns.saturating_sub(now_ns());
        tokio::time::sleep(Duration::from_nanos(left_ns)).await;
    }

    /// Goes on to the interval of this moment; returns the number of the one before.
    fn turn(&mut self) -> u64 {
        let passed_ns = now_ns().saturating_sub(self.epoch_ns);
        let current = passed_ns.checked_div(self.width_ns).unwrap_or(0);
        std::mem::replace(&mut self.current, current)
    }
}
