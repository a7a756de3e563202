//! The queue of parts for one comet that one task works off in order.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::deliver::Courier;
use crate::merge::{self, Limits};
use crate::record::{Part, Target};

/// tokio's timer is no finer: a shorter wait would last this long.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The end of a lane that takes parts.
pub(crate) struct Lane {
    parts: mpsc::Sender<Part>,
    queued: Gauge,
    /// It stayed full for as long as it may, and was not seen with room since.
    is_stalled: bool,
}

/// Why a lane did not take a part.
pub(crate) enum Refused {
    /// It has no room now.
    Full(Part),
    /// Its task has ended.
    Ended,
}

/// The end of a lane that delivers, in passes over what waits.
pub(crate) struct Worker {
    parts: mpsc::Receiver<Part>,
    queued: Gauge,
    courier: Courier,
    limits: Limits,
    pass_parts_max: usize,
    window_max: Duration,
}

pub(crate) fn lane(courier: Courier, config: &Config) -> (Lane, Worker) {
    let parts_max = config.lane_parts_max.max(1);
    let (sender, receiver) = mpsc::channel(parts_max);
    let queued = courier.metrics.queued(&courier.server);
    let lane = Lane {
        parts: sender,
        queued: queued.clone(),
        is_stalled: false,
    };
    let worker = Worker {
        parts: receiver,
        queued,
        courier,
        limits: Limits {
            messages_max: config.merge_messages_max,
            bytes_max: config.merge_bytes_max,
        },
        pass_parts_max: parts_max,
        window_max: config.window_max,
    };
    (lane, worker)
}

impl Lane {
    /// Puts a part at the end of the queue if there is room now.
    pub(crate) fn offer(&mut self, part: Part) -> Result<(), Refused> {
        match self.parts.try_reserve() {
            Ok(permit) => {
                permit.send(part);
                self.queued.inc();
                self.is_stalled = false;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(Refused::Full(part)),
            Err(mpsc::error::TrySendError::Closed(())) => Err(Refused::Ended),
        }
    }

    /// Whether it was full until the last wait for it ended.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// Waits for room until `until`; a part that found none comes back.
    pub(crate) async fn offer_until(&mut self, part: Part, until: Instant) -> Option<Part> {
        match tokio::time::timeout_at(until, self.parts.reserve()).await {
            Ok(Ok(permit)) => {
                permit.send(part);
                self.queued.inc();
                self.is_stalled = false;
                None
            }
            // Its task has ended: the part goes back to the log.
            Ok(Err(_)) => None,
            Err(_) => {
                self.is_stalled = true;
                Some(part)
            }
        }
    }
}

impl Worker {
    /// Ends when all senders are gone and everything is delivered, or with
    /// `now`, which returns the rest to the log.
    pub(crate) async fn run(mut self, now: CancellationToken) {
        tokio::select! {
            () = self.work() => {}
            () = now.cancelled() => {}
        }
        self.queued.dec_by(as_gauge(self.parts.len()));
    }

    async fn work(&mut self) {
        let mut window = Window::default();
        while let Some(first) = self.parts.recv().await {
            if first.target == Target::Room {
                window.wait(self.window_max).await;
            }
            let mut parts = vec![first];
            while parts.len() < self.pass_parts_max
                && let Ok(part) = self.parts.try_recv()
            {
                parts.push(part);
            }
            self.queued.dec_by(as_gauge(parts.len()));
            self.pass(parts, &mut window).await;
        }
    }

    async fn pass(&self, parts: Vec<Part>, window: &mut Window) {
        let started = Instant::now();
        let mut longest = Duration::ZERO;
        for call in merge::calls(parts, self.limits) {
            let is_for_room = call.is_for_room();
            let called = Instant::now();
            self.courier.deliver(call).await;
            if is_for_room {
                longest = longest.max(called.elapsed());
            }
        }
        *window = Window {
            last: Some((started, longest)),
        };
    }
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
