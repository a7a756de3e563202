//! The operations that a connection takes pushes of.

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// A small sorted set, which all connections with the same one share: nearly
/// every client of an application asks for the same operations.
#[derive(Clone, Debug, Default)]
pub struct Accepts(Option<Shared>);

/// Not a slice: one word is all that each connection pays.
type Shared = Arc<Vec<i32>>;

/// The sets that connections have.
#[derive(Debug, Default)]
pub struct AcceptSets {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sets: HashTable<(u64, Weak<Vec<i32>>)>,
    /// Sets at which those that nobody has any more are forgotten.
    forget_at: usize,
}

/// Sets below which looking for unused ones is not worth it.
const FORGET_AT_MIN: usize = 64;

impl Accepts {
    /// Whether pushes of `op` reach the connection.
    pub fn contains(&self, op: i32) -> bool {
        self.ops().binary_search(&op).is_ok()
    }

    /// Adds operations up to `ops_max` in all; `false` if some did not fit.
    pub fn add(
        &mut self,
        added: impl IntoIterator<Item = i32>,
        ops_max: usize,
        sets: &AcceptSets,
    ) -> bool {
        let mut ops = self.ops().to_vec();
        let mut fits = true;
        for op in added {
            if let Err(at) = ops.binary_search(&op) {
                if ops.len() >= ops_max {
                    fits = false;
                    break;
                }
                ops.insert(at, op);
            }
        }
        self.0 = sets.shared(ops);
        fits
    }

    /// Takes operations out.
    pub fn remove(&mut self, removed: impl IntoIterator<Item = i32>, sets: &AcceptSets) {
        let mut ops = self.ops().to_vec();
        for op in removed {
            if let Ok(at) = ops.binary_search(&op) {
                ops.remove(at);
            }
        }
        self.0 = sets.shared(ops);
    }

    fn ops(&self) -> &[i32] {
        self.0.as_ref().map_or(&[], |ops| ops.as_slice())
    }
}

impl AcceptSets {
    /// The set of these sorted operations; an empty one holds no memory.
    fn shared(&self, mut ops: Vec<i32>) -> Option<Shared> {
        if ops.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(&ops);
        let mut known = self.known.lock();
        let found = known
            .sets
            .iter_hash(hash)
            .filter(|(other, _)| *other == hash)
            .filter_map(|(_, set)| set.upgrade())
            .find(|set| **set == ops);
        if found.is_some() {
            return found;
        }
        ops.shrink_to_fit();
        let set = Arc::new(ops);
        known.add(hash, &set);
        Some(set)
    }
}

impl Known {
    fn add(&mut self, hash: u64, set: &Shared) {
        if self.sets.len() >= self.forget_at {
            self.sets.retain(|(_, set)| set.strong_count() > 0);
            self.sets.shrink_to_fit(|(hash, _)| *hash);
            self.forget_at = FORGET_AT_MIN.max(2 * self.sets.len());
        }
        let entry = (hash, Arc::downgrade(set));
        self.sets.insert_unique(hash, entry, |(hash, _)| *hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(ops: impl IntoIterator<Item = i32>, sets: &AcceptSets) -> Accepts {
        let mut accepts = Accepts::default();
        assert!(accepts.add(ops, usize::MAX, sets));
        accepts
    }

    #[test]
    fn behaves_as_a_set() {
        let sets = AcceptSets::default();
        let mut accepts = accepts([3, 1, 3, -2], &sets);

        accepts.remove([1, 9], &sets);

        assert!(accepts.contains(3) && accepts.contains(-2));
        assert!(!accepts.contains(1));
        accepts.remove([3, -2], &sets);
        assert!(accepts.0.is_none(), "an empty set holds memory");
    }

    #[test]
    fn a_full_set_takes_no_more() {
        let sets = AcceptSets::default();
        let mut accepts = Accepts::default();

        assert!(!accepts.add(0..10, 4, &sets));
        assert!(accepts.contains(3) && !accepts.contains(4));
    }

    #[test]
    fn equal_sets_are_one_and_a_change_is_ones_own() {
        let sets = AcceptSets::default();
        let one = accepts([1000, 1001], &sets);
        let mut other = accepts([1001, 1000], &sets);
        let is_shared = |other: &Accepts| match (&one.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        assert!(is_shared(&other));

        other.add([7], 8, &sets);
        assert!(!one.contains(7) && other.contains(7));
        other.remove([7], &sets);
        assert!(is_shared(&other));
    }

    #[test]
    fn sets_that_nobody_has_are_forgotten() {
        let sets = AcceptSets::default();
        let kept = accepts([-1], &sets);

        for op in 0..10_000 {
            accepts([op], &sets);
        }

        assert!(sets.known.lock().sets.len() <= FORGET_AT_MIN);
        assert!(kept.contains(-1));
    }
}
