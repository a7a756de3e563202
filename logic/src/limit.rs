//! How much is taken on at a time.
//!
//! A backend that is asked for too much at a time answers ever later, until
//! every caller has given up before its answer comes. So there is a limit on the
//! calls at a time, found by trying: it grows while calls take as long as they
//! do at their quickest, and shrinks when they take several times as long. A
//! call beyond it waits for a short time and is then turned away, which the
//! caller learns while it can still do something about it.
//!
//! A burst may wait as long as `wait_max`. When calls keep waiting for longer
//! than that, it is no burst: from then on there is no use in waiting, and those
//! that come are turned away almost at once.

mod controller;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use self::controller::Controller;
use crate::config::LimitConfig;

/// What is measured together.
const WINDOW: Duration = Duration::from_millis(100);
/// Fewer calls say nothing about how long they take.
const SAMPLES_MIN: u64 = 10;

/// One limit for each way in.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Pushes over HTTP.
    pub(crate) push: Limit,
    /// Logins over gRPC.
    pub(crate) connect: Limit,
}

/// See the [module](self).
pub(crate) struct Limit {
    config: LimitConfig,
    started: Instant,
    permits: Semaphore,
    /// Permits that exist, apart from those in `excess`.
    current: AtomicUsize,
    /// Permits that calls hold beyond the limit, which are not given on.
    excess: AtomicUsize,
    waiting: AtomicUsize,
    /// When the first of those that wait in an unbroken line began to, in
    /// microseconds since the start.
    waiting_since_us: AtomicU64,
    window: Window,
    controller: Mutex<Controller>,
}

/// What was measured since the last look.
struct Window {
    ends_us: AtomicU64,
    samples: AtomicU64,
    total_us: AtomicU64,
    /// Calls at a time.
    peak: AtomicUsize,
}

/// A call that was taken on. Dropped without its end, it was given up, and took
/// at least so long.
pub(crate) struct Permit<'a> {
    limit: &'a Limit,
    held: Option<SemaphorePermit<'a>>,
    since: Instant,
    counts: bool,
}

/// The call is not taken on; another node may be less busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node has as much to do as it can")]
pub(crate) struct Shed {
    /// A pause after which there may be room.
    pub(crate) retry_after: Duration,
}

impl Limits {
    pub(crate) fn new(config: &LimitConfig) -> Self {
        Self {
            push: Limit::new(config),
            connect: Limit::new(config),
        }
    }
}

impl Limit {
    pub(crate) fn new(config: &LimitConfig) -> Self {
        Self {
            started: Instant::now(),
            permits: Semaphore::new(config.initial),
            current: AtomicUsize::new(config.initial),
            excess: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_since_us: AtomicU64::new(0),
            window: Window {
                ends_us: AtomicU64::new(micros(WINDOW)),
                samples: AtomicU64::new(0),
                total_us: AtomicU64::new(0),
                peak: AtomicUsize::new(0),
            },
            controller: Mutex::new(Controller::new(config.clone())),
            config: config.clone(),
        }
    }

    /// Takes the call on, at once or after a wait, or turns it away.
    pub(crate) async fn enter(&self) -> Result<Permit<'_>, Shed> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        Ok(Permit {
            limit: self,
            held: Some(permit),
            since: Instant::now(),
            counts: true,
        })
    }

    /// Calls that may be taken on at a time.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Calls taken on that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        let permits = self.current() + self.excess.load(Ordering::Relaxed);
        permits.saturating_sub(self.permits.available_permits())
    }

    async fn wait(&self) -> Result<SemaphorePermit<'_>, Shed> {
        let shed = Shed {
            retry_after: self.config.retry_after,
        };
        let waiting = Waiting::join(self);
        if waiting.before >= self.config.waiting_max {
            return Err(shed);
        }
        let now_us = micros(self.started.elapsed());
        let standing_us = if waiting.before == 0 {
            self.waiting_since_us.store(now_us, Ordering::Relaxed);
            0
        } else {
            now_us.saturating_sub(self.waiting_since_us.load(Ordering::Relaxed))
        };
        let wait = if standing_us > micros(self.config.wait_max) {
            self.config.wait_standing
        } else {
            self.config.wait_max
        };
        match timeout(wait, self.permits.acquire()).await {
            Ok(permit) => Ok(permit.expect("invariant: the semaphore is never closed")),
            Err(_) => Err(shed),
        }
    }

    /// Takes a call into account that has just ended.
    fn measure(&self, took: Duration) {
        let window = &self.window;
        let in_flight = self.in_flight();
        if in_flight > window.peak.load(Ordering::Relaxed) {
            window.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        window.total_us.fetch_add(micros(took), Ordering::Relaxed);
        let samples = window.samples.fetch_add(1, Ordering::Relaxed) + 1;
        let now_us = micros(self.started.elapsed());
        let ends_us = window.ends_us.load(Ordering::Relaxed);
        if samples < SAMPLES_MIN || now_us < ends_us {
            return;
        }
        let next_us = now_us + micros(WINDOW);
        let is_first = window
            .ends_us
            .compare_exchange(ends_us, next_us, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_first {
            self.adjust();
        }
    }

    fn adjust(&self) {
        let mut controller = self.controller.lock();
        let samples = self.window.samples.swap(0, Ordering::Relaxed);
        let total_us = self.window.total_us.swap(0, Ordering::Relaxed);
        let peak = self.window.peak.swap(0, Ordering::Relaxed);
        let mean = Duration::from_micros(total_us / samples.max(1));
        let new = controller.adjust(mean, peak);
        let old = self.current.swap(new, Ordering::Relaxed);
        if new > old {
            let more = new - old;
            let kept = self
                .excess
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |excess| {
                    Some(excess.saturating_sub(more))
                })
                .unwrap_or_default()
                .min(more);
            self.permits.add_permits(more - kept);
        } else {
            let fewer = old - new;
            let taken = self.permits.forget_permits(fewer);
            self.excess.fetch_add(fewer - taken, Ordering::Relaxed);
        }
    }

    /// Whether a permit that is given back belongs to those beyond the limit.
    fn is_excess(&self) -> bool {
        self.excess.load(Ordering::Relaxed) > 0
            && self
                .excess
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |excess| {
                    excess.checked_sub(1)
                })
                .is_ok()
    }
}

impl Permit<'_> {
    /// The call has ended. How long it took says nothing unless the backend
    /// `was_asked`.
    pub(crate) fn end(mut self, was_asked: bool) {
        self.counts = was_asked;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.counts {
            self.limit.measure(self.since.elapsed());
        }
        if self.limit.is_excess()
            && let Some(held) = self.held.take()
        {
            held.forget();
        }
    }
}

/// A call that waits.
struct Waiting<'a> {
    limit: &'a Limit,
    /// Those that did when it began to.
    before: usize,
}

impl<'a> Waiting<'a> {
    fn join(limit: &'a Limit) -> Self {
        let before = limit.waiting.fetch_add(1, Ordering::Relaxed);
        Self { limit, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limit.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("current", &self.current())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
