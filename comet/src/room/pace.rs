//! When the next pass over a room may start.

use std::time::Duration;

use tokio::time::Instant;

/// A pass starts at once if the room is idle. Otherwise it waits until twice
/// the last pass's duration after that pass started, at most the cap: messages
/// gather meanwhile and share one write per member, and a walker is busy at
/// most half of the time until the cap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    last: Option<(Instant, Duration)>,
}

/// Shorter waits than the timer's resolution are not worth a timer.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl Pace {
    /// Notes a pass.
    pub(crate) fn passed(&mut self, started: Instant, ended: Instant) {
        self.last = Some((started, ended - started));
    }

    /// Until when the next pass has to wait, if it has to.
    pub(crate) fn wait_until(&self, now: Instant, window_max: Duration) -> Option<Instant> {
        let (started, duration) = self.last?;
        let until = started + (duration * 2).min(window_max);
        (until >= now + WAIT_MIN).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_millis(50);

    fn after(duration_ms: u64, since_start_ms: u64) -> Option<Duration> {
        let started = Instant::now();
        let mut pace = Pace::default();
        pace.passed(started, started + Duration::from_millis(duration_ms));
        let now = started + Duration::from_millis(since_start_ms);
        pace.wait_until(now, CAP).map(|until| until - started)
    }

    #[test]
    fn an_idle_room_is_walked_at_once() {
        assert_eq!(Pace::default().wait_until(Instant::now(), CAP), None);
        assert_eq!(after(5, 11), None);
    }

    #[test]
    fn a_busy_room_waits_twice_its_pass() {
        assert_eq!(after(5, 5), Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_window_is_capped() {
        assert_eq!(after(40, 40), Some(CAP));
        assert_eq!(after(60, 60), None);
    }
}
