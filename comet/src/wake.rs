//! Who walks a room: at most one walker, and none of what was appended while it
//! walked is left behind.
//!
//! A push raises the signal after it appended; the first to raise it starts the
//! walker. The walker marks itself running *before* it looks at the log, so a
//! push that it did not see has raised the signal again by the time it stops.

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const DIRTY: u8 = 2;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Wake(AtomicU8);

impl Wake {
    /// No walker, nothing to do.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Says that there is something to do. `true`: nobody is at it, the caller
    /// must start a walker.
    pub(crate) fn raise(&self) -> bool {
        self.0.swap(DIRTY, Ordering::AcqRel) == IDLE
    }

    /// The walker is about to look at the log.
    pub(crate) fn begin(&self) {
        self.0.swap(RUNNING, Ordering::AcqRel);
    }

    /// The walker has done all it saw. `true`: nothing came meanwhile, it must stop.
    pub(crate) fn end(&self) -> bool {
        self.0
            .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_push_starts_a_walker() {
        let wake = Wake::new();

        assert!(wake.raise());
        assert!(!wake.raise());
        wake.begin();
        assert!(!wake.raise());
        assert!(!wake.end(), "a push came while it walked");
        wake.begin();
        assert!(wake.end());
        assert!(wake.raise());
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    /// Two pushers append and raise; whoever is told to walks. Nothing appended
    /// stays unseen, and two never walk at once.
    #[test]
    fn no_push_is_left_behind() {
        loom::model(|| {
            let wake = Arc::new(Wake::new());
            let log = Arc::new(AtomicUsize::new(0));
            let seen = Arc::new(AtomicUsize::new(0));
            let walkers = Arc::new(AtomicUsize::new(0));

            let pushers: Vec<_> = (0..2)
                .map(|_| {
                    let (wake, log) = (Arc::clone(&wake), Arc::clone(&log));
                    let (seen, walkers) = (Arc::clone(&seen), Arc::clone(&walkers));
                    thread::spawn(move || {
                        log.fetch_add(1, Ordering::Relaxed);
                        if !wake.raise() {
                            return;
                        }
                        assert_eq!(walkers.fetch_add(1, Ordering::AcqRel), 0);
                        loop {
                            wake.begin();
                            seen.store(log.load(Ordering::Relaxed), Ordering::Relaxed);
                            // Leaves before the signal turns idle, as another may then start.
                            walkers.fetch_sub(1, Ordering::AcqRel);
                            if wake.end() {
                                return;
                            }
                            walkers.fetch_add(1, Ordering::AcqRel);
                        }
                    })
                })
                .collect();
            for pusher in pushers {
                pusher.join().expect("a pusher panicked");
            }

            assert_eq!(log.load(Ordering::Relaxed), 2);
            assert_eq!(seen.load(Ordering::Relaxed), 2);
        });
    }
}
