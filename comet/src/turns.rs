//! When work on many connections lets others go first.
//!
//! A yield is not free: a worker thread that has nothing else looks for work at
//! the others, and wakes one of them when it goes on itself, for nothing. So as
//! long as some thread is left for the others, they are let first once in a while
//! only, and after every piece of work when none is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Writes in a row before a turn may end.
pub(crate) const WRITES_PER_LOOK: usize = 64;
/// The longest turn while there are threads for others.
const TURN_MAX: Duration = Duration::from_millis(1);

/// Who is at long work now.
#[derive(Debug)]
pub(crate) struct Turns {
    threads: usize,
    busy: AtomicUsize,
}

/// A long work of one task; ends when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    since: Instant,
}

impl Turns {
    /// On a runtime of so many worker threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            busy: AtomicUsize::new(0),
        }
    }

    /// Begins a long work, which must not wait for anything.
    pub(crate) fn begin(&self) -> Turn<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Turn {
            turns: self,
            since: Instant::now(),
        }
    }
}

impl Turn<'_> {
    /// Between two pieces of the work: lets others go first if it is their turn.
    pub(crate) async fn pass(&mut self) {
        if self.is_over() {
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }

    fn is_over(&self) -> bool {
        self.turns.busy.load(Ordering::Relaxed) >= self.turns.threads
            || self.since.elapsed() >= TURN_MAX
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_over_after_its_time_or_when_no_thread_is_left() {
        let turns = Turns::new(2);
        let mut one = turns.begin();

        assert!(!one.is_over(), "one of two threads is free");
        {
            let other = turns.begin();
            assert!(one.is_over() && other.is_over());
        }
        assert!(!one.is_over(), "the other has ended");
        tokio::time::advance(TURN_MAX).await;
        assert!(one.is_over());
        one.pass().await;
        assert!(!one.is_over(), "others have had their turn");
    }
}
