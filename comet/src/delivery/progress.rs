//! How far one session is, across the streams that its job opens.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use halley_proto::halley::delivery::Refusal;

/// Refusals that are remembered; no job has so many items under way.
const REFUSED_MAX: usize = 1 << 14;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The highest item that was taken on.
    taken: u64,
    /// Those of the items up to it that are neither carried out nor refused.
    waiting: BTreeSet<u64>,
    /// Why items were refused. Which reports have arrived nobody says, so the
    /// newest are kept for the job's next stream.
    refused: BTreeMap<u64, String>,
}

impl Progress {
    /// Whether the item was taken on before.
    pub(super) fn has_taken(&self, id: u64) -> bool {
        id <= self.taken
    }

    /// Notes that an item was taken on, and waits.
    pub(super) fn wait(&mut self, id: u64) {
        self.taken = self.taken.max(id);
        self.waiting.insert(id);
    }

    /// Notes that an item was carried out, or why it was refused.
    pub(super) fn settle(&mut self, id: u64, refused: Option<String>) {
        self.taken = self.taken.max(id);
        self.waiting.remove(&id);
        if let Some(reason) = refused {
            self.refused.insert(id, reason);
            if self.refused.len() > REFUSED_MAX {
                self.refused.pop_first();
            }
        }
    }

    /// The item up to which all are carried out or refused.
    pub(super) fn done(&self) -> u64 {
        let first = self.waiting.first();
        first.map_or(self.taken, |first| first.saturating_sub(1))
    }

    /// What was refused behind `reported`, up to what is done: a job looks for an
    /// item's refusal only in the report that says that it is done.
    pub(super) fn refused(&self, reported: u64) -> Vec<Refusal> {
        let done = self.done();
        self.refused
            .range((Bound::Excluded(reported), Bound::Unbounded))
            .take_while(|(id, _)| **id <= done)
            .map(|(id, reason)| Refusal {
                id: *id,
                reason: reason.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(progress: &Progress, reported: u64) -> Vec<u64> {
        let refused = progress.refused(reported).into_iter();
        refused.map(|refusal| refusal.id).collect()
    }

    #[test]
    fn nothing_behind_an_item_that_waits_is_reported() {
        let mut progress = Progress::default();
        progress.settle(1, Some("no".to_owned()));
        progress.wait(3);
        progress.wait(5);
        progress.settle(6, Some("no".to_owned()));

        assert!(progress.has_taken(5) && !progress.has_taken(7));
        assert_eq!((progress.done(), refused(&progress, 0)), (2, vec![1]));
        progress.settle(5, None);
        assert_eq!(progress.done(), 2);
        progress.settle(3, Some("full".to_owned()));
        assert_eq!((progress.done(), refused(&progress, 2)), (6, vec![3, 6]));
        assert_eq!(refused(&progress, 6), [0_u64; 0]);
    }

    #[test]
    fn the_newest_refusals_are_kept() {
        let mut progress = Progress::default();
        let max = REFUSED_MAX as u64;
        for id in 1..=max + 2 {
            progress.settle(id, Some("no".to_owned()));
        }

        assert_eq!(refused(&progress, 0), (3..=max + 2).collect::<Vec<_>>());
    }
}
