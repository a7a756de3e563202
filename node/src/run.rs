use std::collections::HashMap;
use std::time::Duration;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{DrainOutcome, Drains, Readiness, Signals, Stage};

/// What each stage gets to drain, also when those before it have used up the
/// time.
pub const DRAIN_MIN: Duration = Duration::from_secs(1);

/// How long a stage may take to end after it was told to end at once. Then it
/// is abandoned.
pub const FORCED_END_MAX: Duration = Duration::from_secs(5);

/// Runs the stages until a signal comes, somebody asks for a drain or one of
/// them ends, then drains them one after another in the order given. Those who
/// asked are told how it went before the last one drains.
///
/// All stages together have `drain_deadline` to drain, and each at least
/// [`DRAIN_MIN`]; whatever is left then, or when a second signal comes, is told
/// to end at once.
///
/// # Errors
///
/// The cause when a stage ended before it was to drain, or failed while it
/// drained. It is logged, and all other stages have drained by then.
pub async fn run(
    stages: Vec<Stage>,
    drain_deadline: Duration,
    readiness: Readiness,
    mut signals: Signals,
    drains: &Drains,
) -> anyhow::Result<()> {
    let mut running = Running::start(stages);
    tokio::select! {
        signal = signals.next() => info!(%signal, "draining"),
        () = drains.asked() => info!("asked to drain"),
        () = running.next_end() => {}
    }

    let started = Instant::now();
    readiness.set_draining();
    tokio::select! {
        () = running.drain(started + drain_deadline, drains) => {}
        signal = signals.next() => {
            warn!(%signal, "second signal, ending now");
            running.end_now().await;
        }
    }

    let DrainOutcome { clean, forced } = running.outcome;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    info!(clean, forced, elapsed_ms, "drained");
    running.cause.map_or(Ok(()), Err)
}

/// The stages while they run and drain.
struct Running {
    /// In the order in which they drain.
    controls: Vec<Control>,
    tasks: JoinSet<anyhow::Result<DrainOutcome>>,
    indices: HashMap<Id, usize>,
    /// Whether stages may end without that being a failure.
    draining: bool,
    outcome: DrainOutcome,
    cause: Option<anyhow::Error>,
}

struct Control {
    name: &'static str,
    drain: CancellationToken,
    now: CancellationToken,
    ended: bool,
}

impl Running {
    fn start(stages: Vec<Stage>) -> Self {
        let mut running = Self {
            controls: Vec::with_capacity(stages.len()),
            tasks: JoinSet::new(),
            indices: HashMap::with_capacity(stages.len()),
            draining: false,
            outcome: DrainOutcome::default(),
            cause: None,
        };
        for (index, stage) in stages.into_iter().enumerate() {
            let task = running.tasks.spawn(stage.done);
            running.indices.insert(task.id(), index);
            running.controls.push(Control {
                name: stage.name,
                drain: stage.drain,
                now: stage.now,
                ended: false,
            });
        }
        running
    }

    async fn drain(&mut self, deadline: Instant, drains: &Drains) {
        self.draining = true;
        for index in 0..self.controls.len() {
            if index + 1 == self.controls.len() {
                drains.tell(self.outcome);
            }
            let control = &self.controls[index];
            if control.ended {
                continue;
            }
            info!(stage = control.name, "draining stage");
            control.drain.cancel();
            let deadline = deadline.max(Instant::now() + DRAIN_MIN);
            if timeout_at(deadline, self.end_of(index)).await.is_err() {
                let control = &self.controls[index];
                warn!(stage = control.name, "drain deadline passed, ending now");
                control.now.cancel();
                let last = Instant::now() + FORCED_END_MAX;
                if timeout_at(last, self.end_of(index)).await.is_err() {
                    self.abandon(index);
                }
            }
        }
    }

    async fn end_now(&mut self) {
        self.draining = true;
        for control in &self.controls {
            control.drain.cancel();
            control.now.cancel();
        }
        let last = Instant::now() + FORCED_END_MAX;
        for index in 0..self.controls.len() {
            if timeout_at(last, self.end_of(index)).await.is_err() {
                self.abandon(index);
            }
        }
    }

    async fn end_of(&mut self, index: usize) {
        while !self.controls[index].ended {
            self.next_end().await;
        }
    }

    /// Waits for any stage to end; for ever when all have.
    ///
    /// Cancel-safe: `join_next_with_id` is, and nothing is awaited after it.
    async fn next_end(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(joined) => self.ended(joined),
            None => std::future::pending().await,
        }
    }

    fn ended(&mut self, joined: Result<(Id, anyhow::Result<DrainOutcome>), JoinError>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(anyhow!(error))),
        };
        let control = &mut self.controls[self.indices[&id]];
        control.ended = true;
        let name = control.name;
        let error = match result {
            Ok(outcome) => {
                self.outcome += outcome;
                // While draining, a stage may also end because what feeds it has ended.
                if self.draining {
                    let DrainOutcome { clean, forced } = outcome;
                    info!(stage = name, clean, forced, "stage drained");
                    return;
                }
                anyhow!("{name} ended unexpectedly")
            }
            Err(error) => error.context(format!("{name} failed")),
        };
        error!(error = format!("{error:#}"), "stage failed");
        self.cause.get_or_insert(error);
    }

    fn abandon(&mut self, index: usize) {
        let control = &mut self.controls[index];
        control.ended = true;
        error!(stage = control.name, "did not end, abandoned");
    }
}

#[cfg(test)]
mod tests;
