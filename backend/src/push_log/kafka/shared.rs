//! What the thread that reads, the task that consumes and the holders of
//! acknowledgements share of one subscription.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::super::AckSink;
use super::stats::Counters;
use super::tracker::{Content, Dead, Limits, Place, Taken, Tracker};

pub(super) struct Shared {
    state: Mutex<State>,
    /// Tells who takes pushes.
    pushes: Notify,
    /// Tells who writes dead letters.
    dead: Notify,
    /// Tells the thread that waits for what is in others' hands.
    settled: Condvar,
    pub(super) counters: Arc<Counters>,
    lag_records: AtomicU64,
}

struct State {
    tracker: Tracker,
    /// Somebody waits for `settled`.
    is_awaited: bool,
    /// Nothing more is handed out.
    is_draining: bool,
    /// The subscription is over.
    is_stopping: bool,
}

impl Shared {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::new(State {
                tracker: Tracker::new(limits),
                is_awaited: false,
                is_draining: false,
                is_stopping: false,
            }),
            pushes: Notify::new(),
            dead: Notify::new(),
            settled: Condvar::new(),
            counters,
            lag_records: AtomicU64::new(0),
        }
    }

    /// The next push; `None` while draining.
    pub(super) async fn next(&self) -> Option<Taken> {
        loop {
            {
                let mut state = self.state.lock();
                if state.is_draining {
                    return None;
                }
                if let Some(taken) = state.tracker.take() {
                    return Some(taken);
                }
            }
            self.pushes.notified().await;
        }
    }

    /// At least one record for the dead-letter topic, at most `max`.
    pub(super) async fn next_dead(&self, max: usize) -> Vec<Dead> {
        loop {
            let taken = self.state.lock().tracker.take_dead(max);
            if !taken.is_empty() {
                return taken;
            }
            self.dead.notified().await;
        }
    }

    pub(super) fn drain(&self) {
        self.state.lock().is_draining = true;
        self.pushes.notify_one();
    }

    /// Ends the thread that reads.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_draining = true;
        state.is_stopping = true;
        self.settled.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().is_stopping
    }

    /// Waits; not when the subscription is over.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.is_stopping && !self.settled.wait_until(&mut state, until).timed_out() {}
    }

    /// A record that was read. Whether its partition must be paused. Who takes
    /// pushes is to be [told](Self::tell).
    pub(super) fn push(
        &self,
        place: Place,
        bytes: usize,
        published: tokio::time::Instant,
        content: Content,
    ) -> bool {
        let is_dead = matches!(content, Content::Undecodable(_));
        let mut state = self.state.lock();
        let pause = state.tracker.push(place, bytes, published, content);
        drop(state);
        if is_dead {
            self.dead.notify_one();
        }
        pause
    }

    /// Wakes who takes pushes.
    pub(super) fn tell(&self) {
        self.pushes.notify_one();
    }

    /// Hands out no more of these partitions, and waits at most `wait` until
    /// all that was handed out of them has come back.
    pub(super) fn settle(&self, partitions: &[i32], wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        state.tracker.withhold(partitions);
        state.is_awaited = true;
        while !state.is_stopping
            && state.tracker.is_held(partitions)
            && !self.settled.wait_until(&mut state, until).timed_out()
        {}
        state.is_awaited = false;
    }

    /// Records of our partitions that are not committed.
    pub(super) fn lag_records(&self) -> u64 {
        self.lag_records.load(Ordering::Relaxed)
    }

    pub(super) fn set_lag_records(&self, records: u64) {
        self.lag_records.store(records, Ordering::Relaxed);
    }

    /// Looks at the tracker, or changes it.
    pub(super) fn tracker<T>(&self, look: impl FnOnce(&mut Tracker) -> T) -> T {
        look(&mut self.state.lock().tracker)
    }
}

impl AckSink for Shared {
    fn done(&self, id: u64) {
        let mut state = self.state.lock();
        state.tracker.done(id);
        if state.is_awaited {
            self.settled.notify_all();
        }
    }

    fn returned(&self, id: u64) {
        let mut state = self.state.lock();
        let comes_again = state.tracker.returned(id);
        if state.is_awaited {
            self.settled.notify_all();
        }
        drop(state);
        if comes_again {
            self.counters.redelivered();
            self.pushes.notify_one();
        }
    }
}
