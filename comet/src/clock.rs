//! Coarse time: what a connection remembers of it fits in four bytes.

use std::time::Duration;

use tokio::time::Instant;

/// Ticks per second.
const TICKS_PER_SECOND: u32 = 10;

/// Tenths of a second since the node started; lasts for 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Never.
    pub const NEVER: Self = Self(u32::MAX);

    /// The tick `duration` later, rounded up.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(ticks(duration)))
    }
}

/// `duration` in ticks, rounded up.
pub fn ticks(duration: Duration) -> u32 {
    let tick = Duration::from_secs(1) / TICKS_PER_SECOND;
    let ticks = duration.as_nanos().div_ceil(tick.as_nanos());
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Tells the tick.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The current tick; the first is 1, so that 0 can mean "none".
    pub fn now(&self) -> Tick {
        let ticks = self.start.elapsed().as_millis() / u128::from(1000 / TICKS_PER_SECOND);
        Tick(
            u32::try_from(ticks)
                .unwrap_or(u32::MAX - 1)
                .saturating_add(1),
        )
    }
}
