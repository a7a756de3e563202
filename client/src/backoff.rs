//! How long to wait between two attempts.

use std::time::Duration;

use rand::RngExt;
use serde::Deserialize;

/// goim's advice to clients for reconnecting, in its own fields: seconds, a factor, and a relative jitter.
///
/// Attempt `n` waits `base_delay × factor^n`, at most `max_delay`, changed by up to `± jitter` of itself.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Backoff {
    /// The longest delay before jitter, seconds.
    pub max_delay: f64,
    /// The delay of the first attempt before jitter, seconds.
    pub base_delay: f64,
    /// How much longer each further delay is.
    pub factor: f64,
    /// Relative spread of a delay, 0 to 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            max_delay: 300.0,
            base_delay: 3.0,
            factor: 1.8,
            jitter: 0.3,
        }
    }
}

impl Backoff {
    /// The delay before attempt `attempt`, counted from 0.
    pub fn delay(&self, attempt: u32) -> Duration {
        self.delay_at(attempt, rand::rng().random_range(-1.0..=1.0))
    }

    /// A delay between nothing and the base delay: spreads clients that a server sends away all at once.
    pub fn spread(&self) -> Duration {
        seconds(self.base_delay * rand::rng().random_range(0.0..=1.0))
    }

    /// `position` within the jitter: -1 is the shortest, 1 the longest delay.
    fn delay_at(&self, attempt: u32, position: f64) -> Duration {
        let grown = self.base_delay
            * self
                .factor
                .max(1.0)
                .powi(attempt.try_into().unwrap_or(i32::MAX));
        let capped = grown.min(self.max_delay.max(self.base_delay));
        seconds(capped * (1.0 + self.jitter.clamp(0.0, 1.0) * position))
    }
}

/// The numbers come from the network: none of them may make a delay that cannot be expressed.
fn seconds(seconds: f64) -> Duration {
    const DELAY_SECONDS_MAX: f64 = 86_400.0;
    if seconds.is_finite() {
        Duration::from_secs_f64(seconds.clamp(0.0, DELAY_SECONDS_MAX))
    } else {
        Duration::from_secs_f64(DELAY_SECONDS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_the_factor_up_to_the_maximum() {
        let backoff = Backoff::default();
        let plain: Vec<f64> = [0, 1, 2, 100, u32::MAX]
            .map(|attempt| backoff.delay_at(attempt, 0.0).as_secs_f64())
            .to_vec();
        assert!((plain[0] - 3.0).abs() < 1e-6);
        assert!((plain[1] - 5.4).abs() < 1e-6);
        assert!((plain[2] - 9.72).abs() < 1e-6);
        assert!((plain[3] - 300.0).abs() < 1e-6);
        assert!((plain[4] - 300.0).abs() < 1e-6);
    }

    #[test]
    fn stays_within_the_jitter() {
        let backoff = Backoff::default();
        for _ in 0..100 {
            let delay = backoff.delay(0).as_secs_f64();
            assert!((2.1..=3.9).contains(&delay), "{delay}");
            assert!(backoff.spread().as_secs_f64() <= 3.0);
        }
    }

    #[test]
    fn survives_any_advice() {
        for value in [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1.0,
            0.0,
            f64::MAX,
        ] {
            let backoff = Backoff {
                max_delay: value,
                base_delay: value,
                factor: value,
                jitter: value,
            };
            assert!(backoff.delay(7) <= Duration::from_hours(24));
        }
    }
}
