//! The coordinator's side of the workers: starts them, asks them, adds up their answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::WORKER_COMMAND;
use crate::account::StreamSummary;
use crate::messages::{Command, Event, Opened, Plan, Progress, Settled};
use crate::worker;

/// Answers of one worker that may wait; each command has one.
const ANSWERS_MAX: usize = 8;
/// The pipe to a worker within this process, bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// All workers of a run.
pub(crate) struct Crew {
    workers: Vec<Worker>,
    board: Arc<Mutex<Vec<Progress>>>,
}

struct Worker {
    plan: Plan,
    input: Box<dyn AsyncWrite + Send + Unpin>,
    answers: mpsc::Receiver<Event>,
    /// Ends with this value.
    _process: Option<Child>,
}

impl Crew {
    /// Starts one worker per plan: in this process when it is only one, else as processes of the same executable.
    pub(crate) fn start(plans: Vec<Plan>, tracker: &TaskTracker) -> anyhow::Result<Self> {
        let board = Arc::new(Mutex::new(vec![Progress::default(); plans.len()]));
        let alone = plans.len() == 1;
        let mut workers = Vec::new();
        for (index, plan) in plans.into_iter().enumerate() {
            let (answer, answers) = mpsc::channel(ANSWERS_MAX);
            let listen = Listener {
                index,
                board: Arc::clone(&board),
                answer,
            };
            let (input, process) = if alone {
                (start_here(listen, tracker), None)
            } else {
                start_process(listen, tracker).context("start a worker process")?
            };
            workers.push(Worker {
                plan,
                input,
                answers,
                _process: process,
            });
        }
        Ok(Self { workers, board })
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// How things stand, over all workers.
    pub(crate) fn progress(&self) -> impl Fn() -> Progress + Send + use<> {
        let board = Arc::clone(&self.board);
        move || {
            board
                .lock()
                .iter()
                .fold(Progress::default(), |sum, one| Progress {
                    ready: sum.ready + one.ready,
                    failed: sum.failed + one.failed,
                    received: sum.received + one.received,
                })
        }
    }

    /// Opens all connections; `halted` ends that early.
    pub(crate) async fn open(
        &mut self,
        halted: impl Future<Output = ()>,
    ) -> anyhow::Result<Opened> {
        for worker in &mut self.workers {
            let plan = Box::new(worker.plan.clone());
            worker.tell(&Command::Open(plan)).await?;
        }
        tokio::pin!(halted);
        let mut halting = false;
        let mut total = Opened::default();
        let mut index = 0;
        while index < self.workers.len() {
            tokio::select! {
                () = &mut halted, if !halting => {
                    halting = true;
                    for worker in &mut self.workers {
                        worker.tell(&Command::Halt).await?;
                    }
                }
                answer = self.workers[index].answer() => {
                    let Event::Opened(opened) = answer? else { bail!("a worker answered out of turn") };
                    total.merge(&opened);
                    index += 1;
                }
            }
        }
        Ok(total)
    }

    /// Messages come from here on.
    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            worker.tell(&Command::Begin).await?;
        }
        for worker in &mut self.workers {
            let Event::Begun = worker.answer().await? else {
                bail!("a worker answered out of turn")
            };
        }
        Ok(())
    }

    /// Waits for stragglers, then adds up what was received.
    pub(crate) async fn settle(
        &mut self,
        streams: &BTreeMap<u32, StreamSummary>,
        within_ms: u64,
    ) -> anyhow::Result<Settled> {
        for worker in &mut self.workers {
            let plan = &worker.plan;
            let own = if plan.own_streams {
                plan.first..plan.first + plan.members
            } else {
                0..1
            };
            let streams = streams
                .range(own)
                .map(|(stream, summary)| (*stream, summary.clone()))
                .collect();
            worker.tell(&Command::Settle { streams, within_ms }).await?;
        }
        let mut total = Settled::default();
        for worker in &mut self.workers {
            let Event::Settled(settled) = worker.answer().await? else {
                bail!("a worker answered out of turn")
            };
            total.merge(&settled);
        }
        Ok(total)
    }
}

impl Worker {
    async fn tell(&mut self, command: &Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command).context("encode a command")?;
        line.push(b'\n');
        self.input
            .write_all(&line)
            .await
            .context("command a worker")?;
        self.input.flush().await.context("command a worker")
    }

    /// # Cancel safety
    /// No answer is lost when the future is dropped.
    async fn answer(&mut self) -> anyhow::Result<Event> {
        match self.answers.recv().await {
            None => Err(anyhow!("a worker ended early")),
            Some(Event::Failed(reason)) => Err(anyhow!("a worker failed: {reason}")),
            Some(answer) => Ok(answer),
        }
    }
}

/// Keeps reading a worker's lines, so that it never waits for the coordinator.
struct Listener {
    index: usize,
    board: Arc<Mutex<Vec<Progress>>>,
    answer: mpsc::Sender<Event>,
}

impl Listener {
    async fn run(self, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let event = serde_json::from_str(&line)
                .unwrap_or_else(|error| Event::Failed(error.to_string()));
            if let Event::Progress(progress) = event {
                self.board.lock()[self.index] = progress;
            } else if self.answer.send(event).await.is_err() {
                return;
            }
        }
    }
}

type Input = Box<dyn AsyncWrite + Send + Unpin>;

fn start_here(listener: Listener, tracker: &TaskTracker) -> Input {
    let (coordinator, here) = tokio::io::duplex(PIPE_BYTES);
    let (input, output) = tokio::io::split(here);
    tracker.spawn(async move {
        // It reports its failure itself.
        let _ = worker::serve(input, output).await;
    });
    let (answers, commands) = tokio::io::split(coordinator);
    tracker.spawn(listener.run(answers));
    Box::new(commands)
}

fn start_process(
    listener: Listener,
    tracker: &TaskTracker,
) -> anyhow::Result<(Input, Option<Child>)> {
    let executable: PathBuf = std::env::current_exe().context("find this executable")?;
    let mut child = Process::new(executable)
        .arg(WORKER_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let commands = child.stdin.take().context("open the worker's input")?;
    let answers = child.stdout.take().context("open the worker's output")?;
    tracker.spawn(listener.run(answers));
    Ok((Box::new(commands), Some(child)))
}
