use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, lasting, positive, require};

/// How much logic takes on at a time: of pushes over HTTP, and of logins over
/// gRPC, each on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitConfig {
    /// Calls at a time that are always taken on.
    pub min: usize,
    /// Calls at a time at the start.
    pub initial: usize,
    /// Calls at a time at most.
    pub max: usize,
    /// Time for a call that is never too long.
    #[serde(with = "humantime_serde")]
    pub latency_floor: Duration,
    /// Beyond that, how many times as long as at its quickest a call may take
    /// before less is taken on.
    pub latency_factor: f64,
    /// Calls that wait for others to end.
    pub waiting_max: usize,
    /// How long a call waits.
    #[serde(with = "humantime_serde")]
    pub wait_max: Duration,
    /// How long a call waits once there have been others waiting all through
    /// the last `wait_max`.
    #[serde(with = "humantime_serde")]
    pub wait_standing: Duration,
    /// When those who were turned away are told to come back.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            min: 64,
            initial: 512,
            max: 8192,
            latency_floor: Duration::from_millis(250),
            latency_factor: 3.0,
            waiting_max: 32_768,
            wait_max: Duration::from_secs(2),
            wait_standing: Duration::from_millis(20),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl LimitConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("limit.min", self.min)?;
        lasting("limit.latency_floor", self.latency_floor)?;
        require(
            self.min <= self.initial && self.initial <= self.max,
            "limit.initial",
            "must be between limit.min and limit.max",
        )?;
        require(
            self.max <= tokio::sync::Semaphore::MAX_PERMITS,
            "limit.max",
            "is beyond what can be counted",
        )?;
        require(
            self.latency_factor > 1.0 && self.latency_factor.is_finite(),
            "limit.latency_factor",
            "must be above 1",
        )
    }
}
