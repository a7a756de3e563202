//! A circuit breaker: spares a service that fails from being asked, and those
//! who ask from waiting for it.
//!
//! Closed, everyone may ask; `failures_max` failures in a row open it. Open,
//! nobody may for a while. Then it is half open: a few may try, one success
//! closes it, one failure opens it again.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    open: Duration,
    probes_max: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts the changes of phase, so that an answer that comes late does not
    /// decide about a phase in which it was not asked for.
    changes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probes: u32 },
}

/// The right to ask once. Dropped without a verdict, it was not used.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    change: u64,
}

impl Breaker {
    pub(super) fn new(failures_max: u32, open: Duration, probes_max: u32) -> Self {
        Self {
            failures_max,
            open,
            probes_max,
            state: Mutex::new(State {
                phase: Phase::Closed { failures: 0 },
                changes: 0,
            }),
        }
    }

    /// The right to ask now; `None` when the service is to be left alone.
    pub(super) fn admit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        if let Phase::Open { until } = state.phase
            && now >= until
        {
            state.change(Phase::HalfOpen { probes: 0 });
        }
        match &mut state.phase {
            Phase::Closed { .. } => {}
            Phase::Open { .. } => return None,
            Phase::HalfOpen { probes } if *probes >= self.probes_max => return None,
            Phase::HalfOpen { probes } => *probes += 1,
        }
        Some(Permit {
            breaker: self,
            change: state.changes,
        })
    }
}

impl State {
    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.changes += 1;
    }
}

impl Permit<'_> {
    /// The service answered.
    pub(super) fn success(self) {
        let mut state = self.breaker.state.lock();
        if state.changes != self.change {
            return;
        }
        match state.phase {
            Phase::Closed { .. } => state.phase = Phase::Closed { failures: 0 },
            Phase::HalfOpen { .. } => {
                state.change(Phase::Closed { failures: 0 });
                tracing::info!("authentication service works again");
            }
            Phase::Open { .. } => {}
        }
    }

    /// The service failed.
    pub(super) fn failure(self, now: Instant) {
        let breaker = self.breaker;
        let mut state = breaker.state.lock();
        if state.changes != self.change {
            return;
        }
        let opens = match &mut state.phase {
            Phase::Closed { failures } => {
                *failures += 1;
                *failures >= breaker.failures_max
            }
            Phase::HalfOpen { .. } => true,
            Phase::Open { .. } => false,
        };
        if opens {
            let until = now + breaker.open;
            state.change(Phase::Open { until });
            tracing::error!(
                open_ms = u64::try_from(breaker.open.as_millis()).unwrap_or(u64::MAX),
                "authentication service fails and is left alone: logins are refused"
            );
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock();
        // After a verdict the phase has changed, or is closed.
        if state.changes == self.change
            && let Phase::HalfOpen { probes } = &mut state.phase
        {
            *probes -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(5);

    fn opened() -> (Breaker, Instant) {
        let breaker = Breaker::new(2, OPEN, 1);
        let now = Instant::now();
        for _ in 0..2 {
            breaker.admit(now).unwrap().failure(now);
        }
        (breaker, now)
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let (breaker, now) = opened();

        assert!(breaker.admit(now).is_none());
        assert!(
            breaker
                .admit(now + OPEN - Duration::from_millis(1))
                .is_none()
        );
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let breaker = Breaker::new(2, OPEN, 1);
        let now = Instant::now();
        for _ in 0..5 {
            breaker.admit(now).unwrap().failure(now);
            breaker.admit(now).unwrap().success();
        }

        assert!(breaker.admit(now).is_some());
    }

    #[test]
    fn half_open_admits_only_the_probes() {
        let (breaker, now) = opened();

        let probe = breaker.admit(now + OPEN).unwrap();
        assert!(breaker.admit(now + OPEN).is_none());
        probe.success();
        assert!(breaker.admit(now + OPEN).is_some());
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let (breaker, now) = opened();

        let later = now + OPEN;
        breaker.admit(later).unwrap().failure(later);
        assert!(breaker.admit(later).is_none());
        assert!(breaker.admit(later + OPEN).is_some());
    }

    #[test]
    fn a_probe_given_up_is_given_back() {
        let (breaker, now) = opened();

        drop(breaker.admit(now + OPEN).unwrap());
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn late_answers_decide_nothing() {
        let breaker = Breaker::new(1, OPEN, 1);
        let now = Instant::now();
        let early = [breaker.admit(now).unwrap(), breaker.admit(now).unwrap()];
        breaker.admit(now).unwrap().failure(now);
        let probe = breaker.admit(now + OPEN).unwrap();

        let [one, other] = early;
        one.success();
        other.failure(now + OPEN);

        assert!(breaker.admit(now + OPEN).is_none(), "still half open");
        probe.success();
        assert!(breaker.admit(now + OPEN).is_some());
    }
}
