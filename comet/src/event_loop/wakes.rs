//! How others have an event loop run a connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Who is to be run; each is in there once, and once more in its handshake.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    woken: VecDeque<u32>,
    /// Of the loop's task, while it waits.
    sleeper: Option<Waker>,
    /// Tokens that were given back, and how many there are. The lowest is taken
    /// next, so that those who are left after a burst come to be neighbours.
    free: BinaryHeap<Reverse<u32>>,
    tokens: u32,
}

/// A place in a loop. Whoever keeps it longer than the loop does may wake
/// another connection, for nothing.
#[derive(Debug)]
pub(crate) struct Place {
    wakes: Arc<Wakes>,
    token: u32,
    is_woken: AtomicBool,
}

impl Wakes {
    /// Reserves a token.
    pub(super) fn token(&self) -> u32 {
        let mut inner = self.0.lock();
        if let Some(Reverse(token)) = inner.free.pop() {
            return token;
        }
        inner.tokens += 1;
        inner.tokens - 1
    }

    /// Gives a token back.
    pub(super) fn free(&self, token: u32) {
        self.0.lock().free.push(Reverse(token));
    }

    #[cfg(test)]
    pub(super) fn free_count(&self) -> usize {
        self.0.lock().free.len()
    }

    /// Moves everyone who was woken to `woken`, which is empty.
    pub(super) fn take(&self, woken: &mut VecDeque<u32>) {
        mem::swap(&mut self.0.lock().woken, woken);
    }

    /// Waits until someone is woken.
    pub(super) fn poll_any(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.lock();
        if !inner.woken.is_empty() {
            return Poll::Ready(());
        }
        inner.sleeper = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Has the loop run `token`, unless it is going to.
    pub(crate) fn wake(&self, token: u32, is_woken: &AtomicBool) {
        if is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut inner = self.0.lock();
        inner.woken.push_back(token);
        let sleeper = inner.sleeper.take();
        drop(inner);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Says that what `is_woken` is about will be run now: a wake from now on
    /// runs it again.
    pub(crate) fn begin(is_woken: &AtomicBool) {
        is_woken.swap(false, Ordering::AcqRel);
    }
}

impl Place {
    /// With a token of these wakes.
    pub(super) fn new(wakes: Arc<Wakes>, token: u32) -> Self {
        Self {
            wakes,
            token,
            is_woken: AtomicBool::new(false),
        }
    }

    /// In a loop that nobody runs.
    pub(crate) fn nowhere() -> Self {
        Self::new(Arc::default(), 0)
    }

    /// For whoever has room for these two, and a flag, but not for a place.
    pub(crate) fn into_parts(self) -> (Arc<Wakes>, u32) {
        (self.wakes, self.token)
    }

    /// Is about to be run.
    pub(super) fn begin(&self) {
        Wakes::begin(&self.is_woken);
    }

    /// Has its loop run it.
    pub(super) fn wake(&self) {
        self.wakes.wake(self.token, &self.is_woken);
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Self::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    fn place(wakes: &Arc<Wakes>) -> Place {
        Place::new(Arc::clone(wakes), wakes.token())
    }

    fn woken(wakes: &Wakes) -> Vec<u32> {
        let mut woken = VecDeque::new();
        wakes.take(&mut woken);
        woken.into()
    }

    #[test]
    fn a_place_is_woken_once_until_it_begins() {
        let wakes = Arc::default();
        let (one, other) = (place(&wakes), place(&wakes));

        one.wake();
        other.wake();
        one.wake();
        assert_eq!(woken(&wakes), [one.token, other.token]);

        one.wake();
        assert!(woken(&wakes).is_empty(), "it has yet to begin");
        one.begin();
        one.wake();
        assert_eq!(woken(&wakes), [one.token]);
    }

    #[test]
    fn whoever_waits_is_told_of_a_wake() {
        let wakes = Arc::default();
        let place = place(&wakes);
        let told = Arc::new(Told::default());
        let main = Waker::from(Arc::clone(&told));
        let mut cx = Context::from_waker(&main);

        assert!(wakes.poll_any(&mut cx).is_pending());
        assert!(!told.0.load(Ordering::Relaxed));
        place.wake();
        assert!(told.0.load(Ordering::Relaxed));
        assert!(wakes.poll_any(&mut cx).is_ready());
    }

    #[test]
    fn the_lowest_token_that_is_free_is_given() {
        let wakes = Wakes::default();
        let tokens = [(); 4].map(|()| wakes.token());
        assert_eq!(tokens, [0, 1, 2, 3]);

        for token in [1, 3, 0] {
            wakes.free(token);
        }

        assert_eq!([(); 4].map(|()| wakes.token()), [0, 1, 3, 4]);
    }

    /// Threads note something and wake; whoever runs then sees it, or is run again.
    #[test]
    fn no_wake_is_left_behind() {
        const THREADS: u32 = 4;
        const WAKES: u32 = 5_000;
        let wakes = Arc::default();
        let places = Arc::new([place(&wakes), place(&wakes)]);
        let noted = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        for thread in 0..THREADS {
            let (places, noted) = (Arc::clone(&places), Arc::clone(&noted));
            thread::spawn(move || {
                for turn in thread..thread + WAKES {
                    let one = turn as usize % 2;
                    noted[one].fetch_add(1, Ordering::Relaxed);
                    places[one].wake();
                }
            });
        }

        let (mut seen, mut due) = ([0, 0], VecDeque::new());
        let main = Waker::from(Arc::new(Unpark(thread::current())));
        while seen.iter().sum::<u32>() < THREADS * WAKES {
            if wakes.poll_any(&mut Context::from_waker(&main)).is_pending() {
                thread::park();
            }
            wakes.take(&mut due);
            for token in due.drain(..) {
                let one = places.iter().position(|place| place.token == token);
                let one = one.expect("one of them");
                places[one].begin();
                seen[one] = noted[one].load(Ordering::Relaxed);
            }
        }
    }

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[derive(Default)]
    struct Told(AtomicBool);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
