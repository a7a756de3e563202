//! Finds the limit. No clock, no lock: one call per window.

use std::time::Duration;

use crate::config::LimitConfig;

/// Quickest windows are remembered for between this many quiet windows and twice
/// as many.
const QUIET_WINDOWS: u32 = 600;
/// The most that one window takes off.
const SHRINK_MIN: f64 = 0.5;
/// Windows at the smallest limit until calls are only as slow as the backend:
/// those that end in the first ones still waited behind many.
const SETTLING_WINDOWS: u32 = 5;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Controller {
    config: LimitConfig,
    limit: f64,
    /// The quickest window of those before the last change of the guard, and of
    /// those since, in seconds.
    quickest: [f64; 2],
    quiet: u32,
    /// Windows in a row at the smallest limit.
    settled: u32,
}

impl Controller {
    pub(super) fn new(config: LimitConfig) -> Self {
        Self {
            limit: count(config.initial),
            quickest: [f64::INFINITY; 2],
            quiet: 0,
            settled: 0,
            config,
        }
    }

    /// The limit after a window in which calls took `mean` and there were up to
    /// `peak` of them at a time.
    pub(super) fn adjust(&mut self, mean: Duration, peak: usize) -> usize {
        let (mean, peak) = (mean.as_secs_f64(), count(peak));
        let (min, max) = (count(self.config.min), count(self.config.max));
        let is_full = peak >= self.limit * 0.9;
        self.remember(mean, is_full);
        let allowed = self.allowed();
        let is_least = mean > allowed && self.limit <= min && peak <= self.limit;
        self.settled = if is_least { self.settled + 1 } else { 0 };
        if mean <= allowed {
            // Room that nobody uses says nothing about what would happen if it
            // were used.
            if peak * 2.0 >= self.limit {
                self.limit = (self.limit + self.limit.sqrt()).min(max);
            }
        } else if self.limit > min {
            let shrunk = self.limit.min(peak) * (allowed / mean).max(SHRINK_MIN);
            self.limit = shrunk.max(min);
        } else if self.settled > SETTLING_WINDOWS {
            // So little cannot be what takes so long: the backend has become
            // slower by itself.
            self.quickest = [mean; 2];
        }
        round(self.limit)
    }

    /// How long calls may take.
    fn allowed(&self) -> f64 {
        let quickest = self.quickest[0].min(self.quickest[1]);
        let floor = self.config.latency_floor.as_secs_f64();
        (quickest * self.config.latency_factor).max(floor)
    }

    /// Keeps the quickest windows. They are forgotten in time, so that a backend
    /// may become slower, but not while the limit is used up: then the wait is
    /// our own doing, and would soon pass for normal.
    fn remember(&mut self, mean: f64, is_full: bool) {
        self.quickest[1] = self.quickest[1].min(mean);
        if is_full {
            return;
        }
        self.quiet += 1;
        if self.quiet == QUIET_WINDOWS {
            self.quiet = 0;
            self.quickest = [self.quickest[1], mean];
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "limits are far below what an f64 counts exactly"
)]
fn count(count: usize) -> f64 {
    count as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between limit.min and limit.max"
)]
fn round(limit: f64) -> usize {
    limit as usize
}
