//! Exact accounting: what was accepted on one side, what arrived on the other, and the difference.

mod bits;
mod spell;

use std::ops::{AddAssign, Range};

use serde::{Deserialize, Serialize};

use self::bits::{Bits, masks};
pub(crate) use self::spell::Spells;

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

    /// Compares with all that the pusher knows of the stream.
    pub(crate) fn verdict(&self, expected: &Expected) -> Verdict {
        self.verdict_within(expected, std::slice::from_ref(&(0..expected.sent)))
    }

    /// Compares with what the pusher knows of the stream: within the ranges everything must have come, outside of
    /// them it may. The ranges must not overlap.
    pub(crate) fn verdict_within(&self, expected: &Expected, within: &[Range<u32>]) -> Verdict {
        let mut verdict = Verdict {
            duplicated: self.duplicated,
            reordered: self.reordered,
            ..Verdict::default()
        };
        for (word, mask) in within.iter().flat_map(masks) {
            let due = expected.accepted.word(word) & mask;
            let seen = self.seen.word(word);
            verdict.expected += u64::from(due.count_ones());
            verdict.received += u64::from((due & seen).count_ones());
            verdict.lost += u64::from((due & !seen).count_ones());
        }
        let mut accepted_seen = 0;
        for (word, seen) in self.seen.words() {
            let accepted = expected.accepted.word(word);
            let explained = accepted | expected.unknown.word(word);
            accepted_seen += u64::from((seen & accepted).count_ones());
            verdict.unexpected += u64::from((seen & !explained).count_ones());
        }
        verdict.racing = accepted_seen - verdict.received;
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
    /// Messages that were sent while this member came or went, and did come: they might as well not have.
    pub(crate) racing: u64,
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unexpected += other.unexpected;
        self.racing += other.racing;
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
    /// When each push was sent, as the time since the one before it; only for receivers that come and go.
    gaps_ns: Vec<u64>,
    last_sent_ns: u64,
}

impl Ledger {
    /// Takes the next sequence number; with it the number below which every push has been answered.
    pub(crate) fn start(&mut self) -> (u32, u32) {
        let seq = u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX);
        self.outcomes.push(None);
        (seq, self.settled)
    }

    /// As [`start`](Self::start), and keeps the moment, which must not be before that of the last push.
    pub(crate) fn start_at(&mut self, now_ns: u64) -> (u32, u32) {
        self.gaps_ns.push(now_ns.saturating_sub(self.last_sent_ns));
        self.last_sent_ns = self.last_sent_ns.max(now_ns);
        self.start()
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
            gaps_ns: self.gaps_ns.clone(),
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
    /// When each push was sent, as the time since the one before it, if receivers come and go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps_ns: Vec<u64>,
}

/// A stream's outcomes as a tracker is compared with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    sent: u32,
    accepted: Bits,
    unknown: Bits,
    /// When each push was sent, in order.
    sent_ns: Vec<u64>,
}

impl Expected {
    /// The number of pushes that were sent before a moment, which is also the number of the first one after it.
    fn sent_before(&self, at_ns: u64) -> u32 {
        let sent = self.sent_ns.partition_point(|sent_ns| *sent_ns < at_ns);
        u32::try_from(sent).unwrap_or(u32::MAX)
    }
}

impl From<&StreamSummary> for Expected {
    fn from(summary: &StreamSummary) -> Self {
        let mut refused = Bits::default();
        let mut expected = Self {
            sent: summary.sent,
            ..Self::default()
        };
        for seq in summary.refused.iter().cloned().flatten() {
            refused.insert(seq);
        }
        for seq in summary.unknown.iter().cloned().flatten() {
            expected.unknown.insert(seq);
        }
        for seq in 0..summary.sent {
            if !refused.contains(seq) && !expected.unknown.contains(seq) {
                expected.accepted.insert(seq);
            }
        }
        let mut sent_ns = 0;
        expected.sent_ns = summary
            .gaps_ns
            .iter()
            .map(|gap_ns| {
                sent_ns += gap_ns;
                sent_ns
            })
            .collect();
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
            ..StreamSummary::default()
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
                ..Verdict::default()
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
                ..StreamSummary::default()
            }
        );
    }

    #[test]
    fn only_what_was_sent_within_a_spell_must_have_come() {
        let mut ledger = Ledger::default();
        for seq in 0..100_u64 {
            ledger.start_at(1_000 + seq * 10);
            ledger.finish(u32::try_from(seq).unwrap(), Outcome::Accepted);
        }
        let expected = Expected::from(&ledger.summary());
        let mut spells = Spells::default();
        // Confirmed with the sending of 10; leaving begins with the sending of 30, with a grace of five messages.
        spells.begin(1_100);
        spells.end(1_300);
        spells.end(1_900);
        spells.begin(1_905);
        let ranges = spells.ranges(&expected, 50);
        assert_eq!(ranges, [10..25, 91..100]);

        let mut tracker = Tracker::default();
        // 24 is lost; 9 and 27 are racing, 28 and all until 91 are no business of this member.
        for seq in (9..24).chain([27]).chain(91..100) {
            tracker.record(seq, 0);
        }
        let verdict = tracker.verdict_within(&expected, &ranges);
        assert_eq!(
            (verdict.expected, verdict.received, verdict.lost),
            (24, 23, 1)
        );
        assert_eq!((verdict.racing, verdict.unexpected), (2, 0));
    }

    #[test]
    fn a_spell_that_ends_at_once_expects_nothing() {
        let mut ledger = Ledger::default();
        ledger.start_at(5);
        ledger.finish(0, Outcome::Accepted);
        let expected = Expected::from(&ledger.summary());
        let mut spells = Spells::default();
        assert!(spells.ranges(&expected, 0).is_empty());
        spells.begin(4);
        spells.end(4);
        assert!(spells.ranges(&expected, 1_000).is_empty());
    }
}
