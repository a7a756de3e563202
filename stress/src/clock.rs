//! Time as the tool measures it: one monotonic clock for all processes of the machine, in nanoseconds.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Nanoseconds since boot. `Instant` cannot cross a process border, and a worker measures what the pusher stamped.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time of the calling thread, nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// When the `index`-th of `per_second` events is due, nanoseconds after the first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "indexes and moments of a run are far below 2^52"
)]
pub(crate) fn moment_ns(index: u64, per_second: f64) -> u64 {
    (index as f64 * 1e9 / per_second) as u64
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + rest
}

/// Wakes at a moment of [`now_ns`], exact to some ten microseconds; tokio's own timers round up to a millisecond,
/// which would show in every latency.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of descriptors that do not own what they name"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Waits until `at_ns`; returns at once when it has passed. Must not be called concurrently.
    pub(crate) async fn wait_until(&self, at_ns: u64) -> io::Result<()> {
        if at_ns <= now_ns() {
            return Ok(());
        }
        let at = Timespec {
            tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at_ns % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: at,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        while now_ns() < at_ns {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)) {
                Ok(read) => drop(read?),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wakes_at_the_moment_and_not_before() {
        let alarm = Alarm::new().unwrap();
        for _ in 0..3 {
            let at_ns = now_ns() + 2_000_000;
            alarm.wait_until(at_ns).await.unwrap();
            assert!(now_ns() >= at_ns);
        }
        alarm.wait_until(0).await.unwrap();
    }
}
