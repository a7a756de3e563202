//! Pauses between attempts that grow and do not fall into step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The pause after the n-th failure: doubled from `min` up to `max`, less a
/// random part of up to a half, so that those who failed together do not try
/// again together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Pause after the first failure.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(50),
            max: Duration::from_secs(3),
        }
    }
}

impl Backoff {
    /// The pause after `failures` failures in a row; none after none.
    pub fn pause(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doublings = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let pause = self.min.saturating_mul(doublings).min(self.max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_their_bounds() {
        let backoff = Backoff {
            min: Duration::from_millis(100),
            max: Duration::from_secs(1),
        };

        assert_eq!(backoff.pause(0), Duration::ZERO);
        for (failures, full_ms) in [(1, 100), (2, 200), (3, 400), (5, 1000), (u32::MAX, 1000)] {
            let full = Duration::from_millis(full_ms);
            let pause = backoff.pause(failures);
            assert!(full / 2 <= pause && pause <= full, "{failures}: {pause:?}");
        }
    }
}
