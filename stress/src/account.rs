//! Exact accounting: what was accepted on one side, what arrived on the other, and the difference.

use std::ops::{AddAssign, Range};

use serde::{Deserialize, Serialize};

const WORD_BITS: u32 = u64::BITS;

/// A set of sequence numbers, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Adds a number; `false` if it was there.
    fn insert(&mut self, seq: u32) -> bool {
        let word = (seq / WORD_BITS) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (seq % WORD_BITS);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }
}

/// What one member received of its stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    seen: Bits,
    /// The highest `settled` of all received messages.
    settled: u32,
    duplicated: u64,
    reordered: u64,
}

impl Tracker {
    /// Counts a message; `true` when it is the first with this number.
    pub(crate) fn record(&mut self, seq: u32, settled: u32) -> bool {
        let first = self.seen.insert(seq);
        if !first {
            self.duplicated += 1;
        } else if seq < self.settled {
            self.reordered += 1;
        }
        self.settled = self.settled.max(settled);
        first
    }

    /// Compares with what the pusher knows of the stream.
    pub(crate) fn verdict(&self, expected: &Expected) -> Verdict {
        let mut verdict = Verdict {
            expected: expected.accepted_count,
            duplicated: self.duplicated,
            reordered: self.reordered,
            ..Verdict::default()
        };
        let words = self.seen.words.len().max(expected.accepted.words.len());
        for index in 0..words {
            let (seen, accepted) = (self.seen.word(index), expected.accepted.word(index));
            verdict.received += u64::from((seen & accepted).count_ones());
            verdict.lost += u64::from((accepted & !seen).count_ones());
            verdict.unexpected +=
                u64::from((seen & !accepted & !expected.unknown.word(index)).count_ones());
        }
        verdict
    }
}

/// The account of one member, or the sum of many. `expected = received + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Accepted messages that this member should get.
    pub(crate) expected: u64,
    /// Of those, how many came.
    pub(crate) received: u64,
    /// Of those, how many did not come.
    pub(crate) lost: u64,
    /// Messages that came again.
    pub(crate) duplicated: u64,
    /// Messages that came after one that was sent only when they had been answered.
    pub(crate) reordered: u64,
    /// Messages that came although they were refused.
    pub(crate) unexpected: u64,
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unexpected += other.unexpected;
    }
}

/// How a push ended for the pusher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server took it: every receiver must get it.
    Accepted,
    /// The server said that it did not take it: nobody may get it.
    Refused,
    /// No answer, or one that means neither: anything may have happened.
    Unknown,
}

/// The pusher's side of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    outcomes: Vec<Option<Outcome>>,
    settled: u32,
}

impl Ledger {
    /// Takes the next sequence number; with it the number below which every push has been answered.
    pub(crate) fn start(&mut self) -> (u32, u32) {
        let seq = u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX);
        self.outcomes.push(None);
        (seq, self.settled)
    }

    /// Notes how a push ended.
    pub(crate) fn finish(&mut self, seq: u32, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(seq as usize) {
            *slot = Some(outcome);
        }
        while let Some(Some(_)) = self.outcomes.get(self.settled as usize) {
            self.settled += 1;
        }
    }

    /// What receivers are to be measured by. A push without an end is unknown.
    pub(crate) fn summary(&self) -> StreamSummary {
        let mut summary = StreamSummary {
            sent: u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX),
            ..StreamSummary::default()
        };
        for (seq, outcome) in (0_u32..).zip(&self.outcomes) {
            match outcome {
                Some(Outcome::Accepted) => {}
                Some(Outcome::Refused) => extend(&mut summary.refused, seq),
                Some(Outcome::Unknown) | None => extend(&mut summary.unknown, seq),
            }
        }
        summary
    }
}

fn extend(ranges: &mut Vec<Range<u32>>, seq: u32) {
    match ranges.last_mut() {
        Some(last) if last.end == seq => last.end += 1,
        _ => ranges.push(seq..seq + 1),
    }
}

/// A stream's outcomes as they travel to the workers: all of `0..sent` were accepted but the ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamSummary {
    pub(crate) sent: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<Range<u32>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<Range<u32>>,
}

/// A stream's outcomes as a tracker is compared with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    accepted: Bits,
    accepted_count: u64,
    unknown: Bits,
}

impl From<&StreamSummary> for Expected {
    fn from(summary: &StreamSummary) -> Self {
        let mut refused = Bits::default();
        let mut expected = Self::default();
        for seq in summary.refused.iter().cloned().flatten() {
            refused.insert(seq);
        }
        for seq in summary.unknown.iter().cloned().flatten() {
            expected.unknown.insert(seq);
        }
        for seq in 0..summary.sent {
            let (word, bit) = ((seq / WORD_BITS) as usize, 1 << (seq % WORD_BITS));
            if (refused.word(word) | expected.unknown.word(word)) & bit == 0 {
                expected.accepted.insert(seq);
                expected.accepted_count += 1;
            }
        }
        expected
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some with one"
)]
mod tests {
    use super::*;

    fn expected(sent: u32, refused: &[Range<u32>], unknown: &[Range<u32>]) -> Expected {
        let summary = StreamSummary {
            sent,
            refused: refused.to_vec(),
            unknown: unknown.to_vec(),
        };
        Expected::from(&summary)
    }

    #[test]
    fn a_clean_stream_has_no_faults() {
        let mut tracker = Tracker::default();
        for seq in 0..200 {
            assert!(tracker.record(seq, seq));
        }
        let verdict = tracker.verdict(&expected(200, &[], &[]));
        assert_eq!(
            verdict,
            Verdict {
                expected: 200,
                received: 200,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn counts_losses_duplicates_and_reorders_exactly() {
        let mut tracker = Tracker::default();
        // 3 and 64 never come, 5 comes three times, 7 comes after 8.
        for seq in [0, 1, 2, 4, 5, 5, 6, 8, 7, 9, 5] {
            tracker.record(seq, seq);
        }
        for seq in (10..130).filter(|seq| *seq != 64) {
            tracker.record(seq, seq);
        }
        let verdict = tracker.verdict(&expected(130, &[], &[]));
        assert_eq!(
            verdict,
            Verdict {
                expected: 130,
                received: 128,
                lost: 2,
                duplicated: 2,
                reordered: 1,
                unexpected: 0,
            }
        );
    }

    #[test]
    fn a_message_that_nobody_sent_is_unexpected() {
        let mut tracker = Tracker::default();
        tracker.record(1000, 0);
        let verdict = tracker.verdict(&expected(10, &[], &[]));
        assert_eq!(
            (verdict.expected, verdict.lost, verdict.unexpected),
            (10, 10, 1)
        );
    }

    #[test]
    fn refused_messages_must_not_come_and_unknown_ones_may() {
        let expected = expected(100, &[10..20, 70..71], &[30..40]);
        let mut tracker = Tracker::default();
        for seq in (0..100).filter(|seq| ![10, 70, 35].contains(seq) && !(11..20).contains(seq)) {
            tracker.record(seq, 0);
        }
        let verdict = tracker.verdict(&expected);
        assert_eq!(
            (verdict.expected, verdict.received, verdict.lost),
            (79, 79, 0)
        );
        assert_eq!(verdict.unexpected, 0);
        tracker.record(10, 0);
        assert_eq!(tracker.verdict(&expected).unexpected, 1);
    }

    #[test]
    fn messages_on_their_way_together_have_no_order() {
        let mut tracker = Tracker::default();
        for (seq, settled) in [(1, 0), (0, 0), (3, 2), (2, 2), (4, 4)] {
            tracker.record(seq, settled);
        }
        assert_eq!(tracker.verdict(&expected(5, &[], &[])).reordered, 0);
        // 5 had been answered before 7 was sent, 6 had not.
        for (seq, settled) in [(7, 6), (6, 5), (5, 5)] {
            tracker.record(seq, settled);
        }
        assert_eq!(tracker.verdict(&expected(8, &[], &[])).reordered, 1);
    }

    #[test]
    fn the_ledger_settles_only_a_gapless_beginning() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.start(), (0, 0));
        assert_eq!(ledger.start(), (1, 0));
        assert_eq!(ledger.start(), (2, 0));
        ledger.finish(1, Outcome::Refused);
        assert_eq!(ledger.start(), (3, 0));
        ledger.finish(0, Outcome::Accepted);
        assert_eq!(ledger.start(), (4, 2));
        ledger.finish(2, Outcome::Accepted);
        ledger.finish(3, Outcome::Unknown);
        assert_eq!(
            ledger.summary(),
            StreamSummary {
                sent: 5,
                refused: vec![1..2],
                unknown: vec![3..5],
            }
        );
    }
}
