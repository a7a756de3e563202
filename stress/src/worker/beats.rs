//! Heartbeats that wait for their answer.

use std::collections::VecDeque;

/// Heartbeats that may wait on one connection: more would tell nothing that these do not.
const WAITING_MAX: usize = 64;

/// When the heartbeats of a connection were sent that have no answer yet. Answers come in the order of the heartbeats,
/// and each belongs to one: measured from another, or not at all, it would hide how late the server is.
///
/// There is one of these for each connection: only those whose server is late take memory beside it.
#[derive(Default)]
pub(super) struct Beats {
    /// When the oldest was sent, or 0.
    oldest_ns: u64,
    #[expect(
        clippy::box_collection,
        reason = "eight bytes in every connection, instead of four times as many"
    )]
    later: Option<Box<VecDeque<u64>>>,
}

impl Beats {
    /// Whether no further one may be sent before an answer comes.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= WAITING_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest_ns == 0
    }

    pub(super) fn sent(&mut self, now_ns: u64) {
        if self.is_empty() {
            self.oldest_ns = now_ns;
        } else {
            self.later.get_or_insert_default().push_back(now_ns);
        }
    }

    /// Says when the one that is answered now was sent.
    pub(super) fn answered(&mut self) -> Option<u64> {
        let sent_ns = (!self.is_empty()).then_some(self.oldest_ns)?;
        let next = self.later.as_mut().and_then(|later| later.pop_front());
        self.oldest_ns = next.unwrap_or(0);
        if self.is_empty() {
            self.later = None;
        }
        Some(sent_ns)
    }

    /// When each was sent.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> {
        let oldest = (!self.is_empty()).then_some(self.oldest_ns);
        let later = self.later.iter().flat_map(|later| later.iter().copied());
        oldest.into_iter().chain(later)
    }

    /// Gives them up; says how many there were.
    pub(super) fn give_up(&mut self) -> u64 {
        std::mem::take(self).count() as u64
    }

    fn count(&self) -> usize {
        let later = self.later.as_ref().map_or(0, |later| later.len());
        usize::from(!self.is_empty()) + later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_belongs_to_the_oldest_heartbeat() {
        let mut beats = Beats::default();
        for at_ns in [10, 20, 30] {
            beats.sent(at_ns);
        }
        assert_eq!(beats.answered(), Some(10));
        beats.sent(40);
        assert_eq!(beats.waiting().collect::<Vec<_>>(), [20, 30, 40]);
        assert_eq!(
            [(); 4].map(|()| beats.answered()),
            [Some(20), Some(30), Some(40), None]
        );
        assert!(beats.is_empty() && beats.later.is_none());
    }

    #[test]
    fn a_server_that_is_in_time_costs_no_memory() {
        let mut beats = Beats::default();
        for at_ns in 1..100 {
            beats.sent(at_ns);
            assert!(beats.later.is_none());
            assert_eq!(beats.answered(), Some(at_ns));
        }
    }

    #[test]
    fn a_server_that_never_answers_does_not_fill_the_memory() {
        let mut beats = Beats::default();
        let mut sent = 0;
        while !beats.is_full() {
            sent += 1;
            beats.sent(sent);
        }
        assert_eq!(sent, WAITING_MAX as u64);
        assert_eq!(beats.give_up(), sent);
        assert!(beats.is_empty() && !beats.is_full());
    }
}
