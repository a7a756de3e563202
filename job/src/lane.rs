//! Delivery by calls: queues of parts for one comet that each are worked off by
//! one task in order. The key or the room decides the lane; broadcasts, for which
//! a comet may have no place for long, have one to themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::partition;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::deliver::Courier;
use crate::merge::{self, Call, Limits};
use crate::queue::{Bounds, Inlet, Outlet, Queue, queue};
use crate::record::{Part, Target};

/// tokio's timer is no finer: a shorter wait would last this long.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The lanes of one comet.
pub(crate) struct Lanes {
    /// The last one is for broadcasts.
    inlets: Vec<Inlet>,
    keys_per_call_max: usize,
    workers: Vec<JoinHandle<VecDeque<Part>>>,
    stop: CancellationToken,
}

struct Worker {
    parts: Outlet,
    /// What of the current pass has no outcome yet.
    calls: VecDeque<Call>,
    courier: Courier,
    limits: Limits,
    pass_parts_max: usize,
    window_max: Duration,
}

impl Lanes {
    /// The lanes of each comet.
    pub(crate) fn count(config: &Config) -> usize {
        config.lanes.max(1) as usize + 1
    }

    /// Starts lanes, each with `bounds` of what waits. Their tasks end with `now`,
    /// which returns what they have to the log, or when the lanes are dropped and
    /// everything is delivered.
    pub(crate) fn start(
        courier: &Courier,
        bounds: Bounds,
        keys_per_call_max: usize,
        config: &Config,
        tracker: &TaskTracker,
        now: &CancellationToken,
    ) -> Self {
        let stop = now.child_token();
        let start = |_| {
            let queued = courier.metrics.queued(&courier.server);
            let (inlet, outlet) = queue(Arc::clone(&courier.server), bounds, queued);
            let worker = Worker {
                parts: outlet,
                calls: VecDeque::new(),
                courier: courier.clone(),
                limits: Limits::of(config),
                pass_parts_max: bounds.parts_max.max(1),
                window_max: config.window_max,
            };
            (inlet, tracker.spawn(worker.run(stop.clone())))
        };
        let (inlets, workers) = (0..Self::count(config)).map(start).unzip();
        Self {
            inlets,
            keys_per_call_max,
            workers,
            stop,
        }
    }

    /// Ends the tasks, with what they have not delivered.
    pub(crate) fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Divides a part among the lanes.
    pub(crate) fn deal(&self, part: Part, mut give: impl FnMut(&Arc<Queue>, Part)) {
        let lane = match part.target {
            Target::Room => self.lane_of(&part.record.msg.room),
            Target::Everyone => self.broadcasts(),
            Target::AllKeys | Target::Keys(_) => {
                let lane_of = |key: &str| self.lane_of(key);
                return part.divide(lane_of, self.keys_per_call_max, |lane, part| {
                    give(self.inlets[lane].queue(), part);
                });
            }
        };
        give(self.inlets[lane].queue(), part);
    }

    /// Takes no more parts. The lanes end when they have delivered what they have.
    pub(crate) fn close(&self) {
        for inlet in &self.inlets {
            inlet.close();
        }
    }

    /// Ends the lanes, which may deliver for `patience` still. What is left comes
    /// back, in order for each key and room.
    pub(crate) async fn end(self, patience: Duration) -> VecDeque<Part> {
        self.close();
        let until = Instant::now() + patience;
        let mut rest = VecDeque::new();
        for mut worker in self.workers {
            let in_time = tokio::time::timeout_at(until, &mut worker).await;
            let ended = if let Ok(ended) = in_time {
                ended
            } else {
                self.stop.cancel();
                worker.await
            };
            // The parts of a worker that panicked are returned to the log.
            rest.extend(ended.unwrap_or_default());
        }
        rest
    }

    fn lane_of(&self, key: &str) -> usize {
        let lanes = u32::try_from(self.broadcasts()).unwrap_or(u32::MAX);
        partition(key.as_bytes(), lanes) as usize
    }

    fn broadcasts(&self) -> usize {
        self.inlets.len() - 1
    }
}

impl Worker {
    /// Ends when the lane is closed and everything is delivered, or with
    /// `stop`; returns the rest.
    async fn run(mut self, stop: CancellationToken) -> VecDeque<Part> {
        tokio::select! {
            () = self.work() => {}
            () = stop.cancelled() => {}
        }
        let begun = self.calls.into_iter().flat_map(|call| call.parts);
        let mut rest: VecDeque<_> = begun.collect();
        rest.extend(self.parts.take(usize::MAX));
        rest
    }

    async fn work(&mut self) {
        let mut window = Window::default();
        while let Some(is_for_room) = self.parts.first_is_for_room().await {
            if is_for_room {
                window.wait(self.window_max).await;
            }
            let parts = self.parts.take(self.pass_parts_max);
            self.calls = merge::calls(parts, self.limits).into();
            self.pass(&mut window).await;
        }
    }

    async fn pass(&mut self, window: &mut Window) {
        let started = Instant::now();
        let mut longest = Duration::ZERO;
        while let Some(call) = self.calls.front() {
            let is_for_room = call.is_for_room();
            let called = Instant::now();
            self.courier.deliver_first(&mut self.calls).await;
            if is_for_room {
                longest = longest.max(called.elapsed());
            }
        }
        *window = Window {
            last: Some((started, longest)),
        };
    }
}

/// When the next pass over room messages may start: at once if the lane was
/// idle, else so that the comet is busy with them half of the time at most,
/// and more of them merge the slower it is.
#[derive(Default)]
struct Window {
    /// Start of the last pass, and its longest call for a room.
    last: Option<(Instant, Duration)>,
}

impl Window {
    async fn wait(&self, max: Duration) {
        let Some((started, longest)) = self.last else {
            return;
        };
        let due = started + (2 * longest).min(max);
        if due.saturating_duration_since(Instant::now()) >= WAIT_MIN {
            tokio::time::sleep_until(due).await;
        }
    }
}
