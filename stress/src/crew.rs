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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::WORKER_COMMAND;
use crate::account::StreamSummary;
use crate::messages::{
    Churn, Churned, Command, Event, Opened, Plan, Progress, Settled, Storm, Stormed,
};
use crate::series::Series;
use crate::worker;

/// Answers of one worker that may wait; each command has one.
const ANSWERS_MAX: usize = 8;
/// The pipe to a worker within this process, bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// All workers of a run.
pub(crate) struct Crew {
    workers: Vec<Worker>,
    /// Workers that open connections at the same time.
    opening: usize,
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
    /// What they see over time goes into `series`. `opening` of them open their connections at the same time.
    pub(crate) fn start(
        plans: Vec<Plan>,
        opening: u32,
        series: &Arc<Mutex<Series>>,
        tracker: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let board = Arc::new(Mutex::new(vec![Progress::default(); plans.len()]));
        let alone = plans.len() == 1;
        let mut workers = Vec::new();
        for (index, plan) in plans.into_iter().enumerate() {
            let (answer, answers) = mpsc::channel(ANSWERS_MAX);
            let listen = Listener {
                index,
                board: Arc::clone(&board),
                series: Arc::clone(series),
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
        Ok(Self {
            workers,
            opening: opening.max(1) as usize,
            board,
        })
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
                    open: sum.open + one.open,
                    failed: sum.failed + one.failed,
                    received: sum.received + one.received,
                    churned: sum.churned + one.churned,
                })
        }
    }

    /// Opens all connections; `halted` ends that early.
    pub(crate) async fn open(&mut self, halted: &CancellationToken) -> anyhow::Result<Opened> {
        let (mut told, mut total) = (0, Opened::default());
        for place in 0..self.workers.len() {
            while told < self.workers.len().min(place + self.opening) {
                let worker = &mut self.workers[told];
                let plan = Box::new(worker.plan.clone());
                worker.tell(&Command::Open(plan)).await?;
                told += 1;
            }
            let Event::Opened(opened) = self.answer(place, told, halted).await? else {
                bail!("a worker answered out of turn")
            };
            total.merge(&opened);
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

    /// Drops a share of all connections at once and waits until they are back; `halted` ends that early.
    pub(crate) async fn storm(
        &mut self,
        order: Storm,
        halted: &CancellationToken,
    ) -> anyhow::Result<Stormed> {
        for worker in &mut self.workers {
            worker.tell(&Command::Storm(order)).await?;
        }
        let mut total = Stormed::default();
        for answer in self.gather(halted).await? {
            let Event::Stormed(stormed) = answer else {
                bail!("a worker answered out of turn")
            };
            total.merge(&stormed);
        }
        Ok(total)
    }

    /// Divides connections that come and go among the workers and waits for the end; `halted` brings it forward.
    pub(crate) async fn churn(
        &mut self,
        whole: Churn,
        halted: &CancellationToken,
    ) -> anyhow::Result<Churned> {
        let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let mut first = whole.first;
        for (place, worker) in (0..).zip(&mut self.workers) {
            let lanes = whole.lanes / workers + u32::from(place < whole.lanes % workers);
            let share = f64::from(lanes) / f64::from(whole.lanes.max(1));
            let order = Churn {
                first,
                lanes,
                per_second: whole.per_second.map(|rate| rate * share),
                ..whole
            };
            first = first.saturating_add(lanes);
            worker.tell(&Command::Churn(order)).await?;
        }
        let mut total = Churned::default();
        for answer in self.gather(halted).await? {
            let Event::Churned(churned) = answer else {
                bail!("a worker answered out of turn")
            };
            total.merge(&churned);
        }
        Ok(total)
    }

    /// Waits for stragglers, then adds up what was received.
    pub(crate) async fn settle(
        &mut self,
        streams: &BTreeMap<u32, StreamSummary>,
        within_ms: u64,
    ) -> anyhow::Result<Settled> {
        for worker in &mut self.workers {
            let own = worker.plan.streams().into_iter();
            let streams = own
                .flat_map(|own| streams.range(own))
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

    /// Takes one answer of every worker. `halted` has workers open no further connections.
    async fn gather(&mut self, halted: &CancellationToken) -> anyhow::Result<Vec<Event>> {
        let mut answers = Vec::new();
        for place in 0..self.workers.len() {
            answers.push(self.answer(place, self.workers.len(), halted).await?);
        }
        Ok(answers)
    }

    /// Takes the answer of the worker at `place`. `halted` has the first `told` workers open no further connections.
    async fn answer(
        &mut self,
        place: usize,
        told: usize,
        halted: &CancellationToken,
    ) -> anyhow::Result<Event> {
        let mut halting = false;
        loop {
            tokio::select! {
                () = halted.cancelled(), if !halting => {
                    halting = true;
                    for worker in &mut self.workers[..told] {
                        worker.tell(&Command::Halt).await?;
                    }
                }
                answer = self.workers[place].answer() => return answer,
            }
        }
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
    series: Arc<Mutex<Series>>,
    answer: mpsc::Sender<Event>,
}

impl Listener {
    async fn run(self, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let event = serde_json::from_str(&line)
                .unwrap_or_else(|error| Event::Failed(error.to_string()));
            match event {
                Event::Progress(progress) => self.board.lock()[self.index] = progress,
                Event::Interval(interval) => self.series.lock().add(&interval),
                Event::Opened(_)
                | Event::Begun
                | Event::Stormed(_)
                | Event::Churned(_)
                | Event::Settled(_)
                | Event::Failed(_) => {
                    if self.answer.send(event).await.is_err() {
                        return;
                    }
                }
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
