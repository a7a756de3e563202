//! Sets of sequence numbers.

use std::ops::Range;

const WORD_BITS: u32 = u64::BITS;

/// One bit for each number between the lowest and the highest of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    /// Words in front of the first that is kept: whoever joins a stream late needs no room for what was before.
    skipped: usize,
    words: Vec<u64>,
}

impl Bits {
    /// Adds a number; `false` if it was there.
    pub(crate) fn insert(&mut self, seq: u32) -> bool {
        let word = (seq / WORD_BITS) as usize;
        if self.words.is_empty() {
            self.skipped = word;
        }
        if word < self.skipped {
            let before = self.skipped - word;
            self.words.splice(0..0, std::iter::repeat_n(0, before));
            self.skipped = word;
        }
        let place = word - self.skipped;
        if place >= self.words.len() {
            self.words.resize(place + 1, 0);
        }
        let bit = 1 << (seq % WORD_BITS);
        let new = self.words[place] & bit == 0;
        self.words[place] |= bit;
        new
    }

    pub(crate) fn contains(&self, seq: u32) -> bool {
        self.word((seq / WORD_BITS) as usize) & (1 << (seq % WORD_BITS)) != 0
    }

    /// The 64 numbers from `64 * index` on.
    pub(crate) fn word(&self, index: usize) -> u64 {
        index
            .checked_sub(self.skipped)
            .and_then(|place| self.words.get(place))
            .copied()
            .unwrap_or(0)
    }

    /// The words that may hold a number, with their indexes.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        (self.skipped..).zip(self.words.iter().copied())
    }
}

/// The indexes of the words that a range touches, each with the bits of it that are in the range.
pub(crate) fn masks(range: &Range<u32>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let Range { start, end } = range.clone();
    let words = if start < end {
        start / WORD_BITS..end.div_ceil(WORD_BITS)
    } else {
        0..0
    };
    words.map(move |word| {
        let first = word * WORD_BITS;
        let below = start.saturating_sub(first);
        let above = (first + (WORD_BITS - 1)).saturating_sub(end - 1);
        (word as usize, (u64::MAX << below) & (u64::MAX >> above))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_start_takes_no_room_and_earlier_numbers_still_fit() {
        let mut bits = Bits::default();
        assert!(bits.insert(1_000_000));
        assert_eq!(bits.words.len(), 1);
        assert!(bits.insert(999_000));
        assert!(bits.insert(1_000_100));
        assert!(!bits.insert(1_000_000));
        assert!(!bits.insert(999_000));
        assert!(bits.contains(1_000_100) && !bits.contains(999_001) && !bits.contains(0));
        let counted: u32 = bits.words().map(|(_, word)| word.count_ones()).sum();
        assert_eq!(counted, 3);
    }

    #[test]
    fn masks_are_the_numbers_of_the_range() {
        for range in [0..0, 5..5, 0..1, 3..64, 64..65, 60..200, 63..64, 128..192] {
            let mut numbers = Vec::new();
            for (word, mask) in masks(&range) {
                let first = u32::try_from(word).unwrap() * 64;
                numbers.extend(
                    (0..64)
                        .filter(|bit| mask >> bit & 1 == 1)
                        .map(|bit| first + bit),
                );
            }
            assert_eq!(numbers, range.clone().collect::<Vec<_>>(), "{range:?}");
        }
    }
}
