//! A circuit breaker: spares a service that fails from being asked, and those
//! who ask from waiting for it.
//!
//! Closed, everyone may ask; `failures_max` failures in a row open it. Open,
//! nobody may for a while, which doubles each time that it opens again. Then it
//! is half open: a few may try, one success closes it, one failure opens it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open the first time. A random part of up to a half is
    /// taken off, so that those who failed together do not try together.
    pub open_min: Duration,
    /// How long it stays open at most.
    pub open_max: Duration,
    /// Who may try at a time when it is half open.
    pub probes_max: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Times that it has opened since it was closed last.
    openings: u32,
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
pub struct Permit {
    breaker: Arc<Breaker>,
    change: u64,
}

/// What a verdict has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The service is left alone from now on, for this long.
    Opened(Duration),
    /// The service works again.
    Closed,
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::new(State {
                phase: Phase::Closed { failures: 0 },
                openings: 0,
                changes: 0,
            }),
        })
    }

    /// Whether [`admit`](Self::admit) would give a right now.
    pub fn is_admitting(&self, now: Instant) -> bool {
        match self.state.lock().phase {
            Phase::Closed { .. } => true,
            Phase::Open { until } => now >= until,
            Phase::HalfOpen { probes } => probes < self.limits.probes_max,
        }
    }

    /// Whether it is closed, which is the normal state.
    pub fn is_closed(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Closed { .. })
    }

    /// The right to ask now; `None` when the service is to be left alone.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Option<Permit> {
        let mut state = self.state.lock();
        if let Phase::Open { until } = state.phase
            && now >= until
        {
            state.change(Phase::HalfOpen { probes: 0 });
        }
        match &mut state.phase {
            Phase::Closed { .. } => {}
            Phase::Open { .. } => return None,
            Phase::HalfOpen { probes } if *probes >= self.limits.probes_max => return None,
            Phase::HalfOpen { probes } => *probes += 1,
        }
        Some(Permit {
            breaker: Arc::clone(self),
            change: state.changes,
        })
    }
}

impl Limits {
    /// How long the breaker stays open when it opens for the n-th time in a row.
    fn open(&self, openings: u32) -> Duration {
        let doublings = 1_u32
            .checked_shl(openings.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let open = self.open_min.saturating_mul(doublings).min(self.open_max);
        open.mul_f64(rand::random_range(0.5..=1.0))
    }
}

impl State {
    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.changes += 1;
    }
}

impl Permit {
    /// The service answered.
    pub fn success(self) -> Change {
        let mut state = self.breaker.state.lock();
        if state.changes != self.change {
            return Change::None;
        }
        match state.phase {
            Phase::Closed { .. } => state.phase = Phase::Closed { failures: 0 },
            Phase::HalfOpen { .. } => {
                state.openings = 0;
                state.change(Phase::Closed { failures: 0 });
                return Change::Closed;
            }
            Phase::Open { .. } => {}
        }
        Change::None
    }

    /// The service failed.
    pub fn failure(self, now: Instant) -> Change {
        let limits = self.breaker.limits;
        let mut state = self.breaker.state.lock();
        if state.changes != self.change {
            return Change::None;
        }
        let opens = match &mut state.phase {
            Phase::Closed { failures } => {
                *failures += 1;
                *failures >= limits.failures_max
            }
            Phase::HalfOpen { .. } => true,
            Phase::Open { .. } => false,
        };
        if !opens {
            return Change::None;
        }
        state.openings = state.openings.saturating_add(1);
        let open = limits.open(state.openings);
        state.change(Phase::Open { until: now + open });
        Change::Opened(open)
    }
}

impl Drop for Permit {
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
    const MOMENT: Duration = Duration::from_millis(1);

    fn breaker(failures_max: u32) -> Arc<Breaker> {
        Breaker::new(Limits {
            failures_max,
            open_min: OPEN,
            open_max: OPEN * 2,
            probes_max: 1,
        })
    }

    fn opened() -> (Arc<Breaker>, Instant) {
        let breaker = breaker(2);
        let now = Instant::now();
        for _ in 0..2 {
            breaker.admit(now).unwrap().failure(now);
        }
        (breaker, now)
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let (breaker, now) = opened();

        assert!(!breaker.is_closed());
        assert!(breaker.admit(now).is_none());
        assert!(breaker.admit(now + OPEN / 2 - MOMENT).is_none());
        assert!(breaker.is_admitting(now + OPEN));
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let breaker = breaker(2);
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
        assert!(!breaker.is_admitting(now + OPEN));
        assert!(breaker.admit(now + OPEN).is_none());
        assert_eq!(probe.success(), Change::Closed);
        assert!(breaker.is_closed());
        assert!(breaker.admit(now + OPEN).is_some());
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn a_failed_probe_opens_it_for_twice_as_long() {
        let (breaker, now) = opened();

        let mut later = now + OPEN;
        for _ in 0..3 {
            let change = breaker.admit(later).unwrap().failure(later);
            let Change::Opened(open) = change else {
                panic!("{change:?}");
            };
            assert!(OPEN <= open && open <= OPEN * 2, "{open:?}");
            assert!(breaker.admit(later + OPEN - MOMENT).is_none());
            later += OPEN * 2;
        }

        breaker.admit(later).unwrap().success();
        for _ in 0..2 {
            breaker.admit(later).unwrap().failure(later);
        }
        assert!(breaker.admit(later + OPEN).is_some(), "from the start");
    }

    #[test]
    fn a_probe_given_up_is_given_back() {
        let (breaker, now) = opened();

        drop(breaker.admit(now + OPEN).unwrap());
        assert!(breaker.admit(now + OPEN).is_some());
    }

    #[test]
    fn late_answers_decide_nothing() {
        let breaker = breaker(1);
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
