//! How others have an event loop run a connection.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Who is to be run; each is in there once, so their number bounds it.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    woken: VecDeque<u32>,
    /// Of the loop's task, while it waits.
    sleeper: Option<Waker>,
    /// Tokens that were given back, and how many there are.
    free: Vec<u32>,
    tokens: u32,
}

/// A connection's place in its loop, given back when dropped.
#[derive(Debug)]
pub struct Place {
    wakes: Arc<Wakes>,
    token: u32,
    is_woken: AtomicBool,
}

impl Wakes {
    /// Reserves a place.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        let mut inner = self.0.lock();
        let token = inner.free.pop().unwrap_or_else(|| {
            inner.tokens += 1;
            inner.tokens - 1
        });
        Place {
            wakes: Arc::clone(self),
            token,
            is_woken: AtomicBool::new(false),
        }
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
}

impl Place {
    /// Among the places of its loop; another one's when this is gone.
    pub(super) fn token(&self) -> u32 {
        self.token
    }

    /// Has the loop run the connection.
    pub(crate) fn wake(&self) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut inner = self.wakes.0.lock();
        inner.woken.push_back(self.token);
        let sleeper = inner.sleeper.take();
        drop(inner);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// The connection is about to be run: a wake from now on runs it again.
    pub(crate) fn begin(&self) {
        self.is_woken.swap(false, Ordering::AcqRel);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wakes.0.lock().free.push(self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(wakes: &Wakes) -> Vec<u32> {
        let mut woken = VecDeque::new();
        wakes.take(&mut woken);
        woken.into()
    }

    #[test]
    fn a_place_is_woken_once_until_it_begins() {
        let wakes = Arc::new(Wakes::default());
        let (one, other) = (wakes.place(), wakes.place());

        one.wake();
        other.wake();
        one.wake();
        assert_eq!(woken(&wakes), [one.token(), other.token()]);

        one.wake();
        assert!(woken(&wakes).is_empty(), "it has yet to begin");
        one.begin();
        one.wake();
        assert_eq!(woken(&wakes), [one.token()]);
    }

    #[test]
    fn whoever_waits_is_told_of_a_wake() {
        let wakes = Arc::new(Wakes::default());
        let place = wakes.place();
        let told = Arc::new(Told::default());
        let waker = Waker::from(Arc::clone(&told));
        let mut cx = Context::from_waker(&waker);

        assert!(wakes.poll_any(&mut cx).is_pending());
        assert!(!told.0.load(Ordering::Relaxed));
        place.wake();
        assert!(told.0.load(Ordering::Relaxed));
        assert!(wakes.poll_any(&mut cx).is_ready());
    }

    #[test]
    fn a_token_is_given_again_only_when_its_place_is_gone() {
        let wakes = Arc::new(Wakes::default());
        let (one, other) = (wakes.place(), wakes.place());
        let first = one.token();

        assert_ne!(first, other.token());
        drop(one);
        assert_eq!(wakes.place().token(), first);
    }

    #[derive(Default)]
    struct Told(AtomicBool);

    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
