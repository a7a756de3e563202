//! A family of metrics whose members are kept once they were found.

use std::fmt;
use std::hash::Hash;
use std::sync::OnceLock;

use prometheus_client::metrics::family::{Family, MetricConstructor};

/// A label whose values are all known.
pub(super) trait Closed {
    /// How many there are.
    const COUNT: usize;
}

/// Members have slots; only the first look for one asks the family, which
/// hashes labels under a lock.
pub(super) struct Kept<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    slots: Box<[OnceLock<M>]>,
}

impl<L, M, C> Kept<L, M, C>
where
    L: Clone + Eq + Hash,
    M: Clone,
    C: MetricConstructor<M>,
{
    pub(super) fn new(family: Family<L, M, C>, slots: usize) -> Self {
        let slots = (0..slots).map(|_| OnceLock::new()).collect();
        Self { family, slots }
    }

    /// The member with the slot and the labels, which go together.
    pub(super) fn get(&self, slot: usize, labels: impl FnOnce() -> L) -> &M {
        self.slots[slot].get_or_init(|| self.family.get_or_create_owned(&labels()))
    }
}

impl<L, M, C: Clone> Kept<L, M, C> {
    /// To be registered.
    pub(super) fn family(&self) -> Family<L, M, C> {
        self.family.clone()
    }
}

impl<L, M, C> fmt::Debug for Kept<L, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
