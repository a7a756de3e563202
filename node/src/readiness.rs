use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// Whether a process should get work: ready once every part that holds a
/// [`Latch`] has released it, and no longer once it drains.
///
/// Clones share one state.
#[derive(Clone, Default)]
pub struct Readiness(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<&'static str>,
    draining: bool,
}

/// Where a process is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Draining,
}

/// Held by a part of the process until it can do its work.
#[derive(Debug)]
#[must_use = "a latch that is dropped at once says that its part is ready"]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Makes readiness wait for the part called `name`. Several parts of one
    /// name each count.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.0.send_modify(|state| state.waiting.push(name));
        Latch {
            readiness: self.clone(),
            name,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Waits until no part is waited for, also when the process drains by then.
    pub async fn ready(&self) {
        self.until(|state| state.waiting.is_empty()).await;
    }

    pub fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// The parts that are not ready yet, in the order in which they asked.
    pub fn waiting(&self) -> Vec<&'static str> {
        self.0.borrow().waiting.clone()
    }

    /// From now on the process is not ready, for good.
    pub fn set_draining(&self) {
        self.0.send_modify(|state| state.draining = true);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.0.borrow().phase()
    }

    /// Waits for the phase to be another than `known`.
    pub(crate) async fn phase_after(&self, known: Phase) -> Phase {
        self.until(|state| state.phase() != known).await;
        self.phase()
    }

    async fn until(&self, met: impl FnMut(&State) -> bool) {
        let waited = self.0.subscribe().wait_for(met).await.map(drop);
        waited.expect("invariant: the sender lives as long as self");
    }
}

impl State {
    fn phase(&self) -> Phase {
        if self.draining {
            Phase::Draining
        } else if self.waiting.is_empty() {
            Phase::Ready
        } else {
            Phase::Starting
        }
    }
}

impl Latch {
    /// The part is ready. Dropping the latch says the same.
    pub fn ready(self) {
        drop(self);
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.0.send_modify(|state| {
            let waiting = &mut state.waiting;
            if let Some(index) = waiting.iter().position(|name| *name == self.name) {
                waiting.remove(index);
            }
        });
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.borrow();
        f.debug_struct("Readiness")
            .field("waiting", &state.waiting)
            .field("draining", &state.draining)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn ready_when_the_last_latch_is_gone() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());

        let tcp = readiness.latch("comet.tcp");
        let logic = readiness.latch("logic");
        assert_eq!(readiness.waiting(), ["comet.tcp", "logic"]);

        tcp.ready();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.waiting(), ["logic"]);

        drop(logic);
        assert!(readiness.is_ready());
    }

    #[test]
    fn parts_of_one_name_each_count() {
        let readiness = Readiness::default();
        let one = readiness.latch("listener");
        let other = readiness.latch("listener");

        one.ready();
        assert_eq!(readiness.waiting(), ["listener"]);

        other.ready();
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_last_latch_is_gone() {
        let readiness = Readiness::default();
        readiness.ready().await;

        let (one, other) = (readiness.latch("one"), readiness.latch("other"));
        one.ready();
        let release = async {
            tokio::task::yield_now().await;
            other.ready();
        };
        tokio::join!(readiness.ready(), release);

        assert!(readiness.is_ready());
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::default();
        let clone = readiness.clone();
        clone.set_draining();
        assert!(readiness.is_draining());

        readiness.latch("late").ready();
        assert!(!readiness.is_ready());
    }
}
