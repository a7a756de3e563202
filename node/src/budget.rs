//! How many calls may be tried again: a part of those made lately, so that
//! retries cannot multiply the load on whoever is in trouble.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Parts of the window that are forgotten one by one.
const SLOTS: usize = 10;
/// The time that one part covers.
const SLOT: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub struct Budget {
    /// Retries for each hundred calls of the window.
    percent: u32,
    /// Retries in the window that are allowed without calls.
    retries_min: u32,
    start: Instant,
    slots: Mutex<[Slot; SLOTS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which second since the start it counts.
    second: u64,
    calls: u64,
    retries: u64,
}

impl Budget {
    /// `percent` retries for each hundred calls of the last ten seconds, or
    /// `retries_min` in these, whichever is more.
    pub fn new(percent: u32, retries_min: u32) -> Self {
        Self {
            percent,
            retries_min,
            start: Instant::now(),
            slots: Mutex::default(),
        }
    }

    /// Counts a call, not its retries.
    pub fn call(&self) {
        self.with_slot(|slot, _| slot.calls += 1);
    }

    /// Takes the right to try one call again, if there is one.
    pub fn take(&self) -> bool {
        self.with_slot(|slot, allowed| {
            slot.retries += u64::from(allowed);
            allowed
        })
    }

    fn with_slot<R>(&self, act: impl FnOnce(&mut Slot, bool) -> R) -> R {
        let second = self.start.elapsed().as_secs() / SLOT.as_secs();
        let mut slots = self.slots.lock();
        let (mut calls, mut retries) = (0, 0);
        for slot in slots.iter() {
            if slot.second + SLOTS as u64 > second {
                calls += slot.calls;
                retries += slot.retries;
            }
        }
        let allowed = retries * 100 < calls * u64::from(self.percent)
            || retries < u64::from(self.retries_min);
        let index = usize::try_from(second).unwrap_or(0) % SLOTS;
        let slot = &mut slots[index];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        act(slot, allowed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn taken(budget: &Budget) -> usize {
        (0..1000).filter(|_| budget.take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_the_calls_may_be_tried_again() {
        let budget = Budget::new(10, 3);

        assert_eq!(taken(&budget), 3);
        for _ in 0..200 {
            budget.call();
        }
        assert_eq!(taken(&budget), 20 - 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_does_not_count() {
        let budget = Budget::new(10, 0);
        for _ in 0..100 {
            budget.call();
        }
        advance(SLOT * 9).await;
        assert!(budget.take());

        advance(SLOT).await;

        assert!(!budget.take());
        advance(SLOT * 9).await;
        for _ in 0..100 {
            budget.call();
        }
        assert_eq!(taken(&budget), 10);
    }
}
