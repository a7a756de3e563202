//! Positions in a room's log.

/// The sequence number of a message in one log; also a member's position: the
/// next message it has not been sent.
///
/// Numbers wrap around, so order is that of the shorter way between two of
/// them: a log never spans half of the number space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// The position with the sequence number `sequence`.
    pub fn new(sequence: u64) -> Self {
        Self(sequence)
    }

    /// The position `messages` further on.
    #[must_use]
    pub fn advanced(self, messages: u64) -> Self {
        Self(self.0.wrapping_add(messages))
    }

    /// Messages from `earlier` up to here.
    pub fn since(self, earlier: Self) -> u64 {
        debug_assert!(!self.is_before(earlier), "distance to a later position");
        self.0.wrapping_sub(earlier.0)
    }

    /// The sequence number.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether this position comes before `other`.
    pub fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) > u64::MAX / 2
    }
}
