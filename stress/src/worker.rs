//! A worker: holds connections, answers the coordinator, and measures what arrives.

mod fleet;
mod inbound;
mod member;
mod post;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::to_vec;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::time::{Instant, MissedTickBehavior};

use self::fleet::Fleet;
use crate::account::Expected;
use crate::messages::{Command, Event};

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
    phase: Phase,
}

enum Phase {
    Idle,
    Opening,
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
            Command::Settle { streams, within_ms } => {
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
        match &mut self.phase {
            Phase::Idle => Ok(()),
            Phase::Opening => {
                let Some(opened) = fleet.opened() else {
                    return Ok(());
                };
                self.phase = Phase::Idle;
                self.say(&Event::Opened(Box::new(opened))).await
            }
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
                let settled = fleet.settled(streams);
                self.phase = Phase::Idle;
                self.say(&Event::Settled(Box::new(settled))).await
            }
        }
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
