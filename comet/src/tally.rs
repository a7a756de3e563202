//! What became of messages, counted locally and added to the metrics once per batch of work.

use crate::metrics::Metrics;

/// Why a message that had an addressee was not written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It fell out of the room's ring before the member read it.
    SlowConsumer,
    /// The connection's outbox was full.
    OutboxFull,
    /// The connection closed first.
    Closed,
    /// The member left the room first.
    LeftRoom,
    /// The connection does not accept the operation.
    NotAccepted,
    /// The body was not a chain of packets.
    Malformed,
}

/// Every reason, in the order of their numbers.
pub const DROP_REASONS: [DropReason; 6] = [
    DropReason::SlowConsumer,
    DropReason::OutboxFull,
    DropReason::Closed,
    DropReason::LeftRoom,
    DropReason::NotAccepted,
    DropReason::Malformed,
];

impl DropReason {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::OutboxFull => "outbox_full",
            Self::Closed => "closed",
            Self::LeftRoom => "left_room",
            Self::NotAccepted => "not_accepted",
            Self::Malformed => "malformed",
        }
    }
}

/// Messages times connections; see the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Written to the socket whole.
    pub delivered: u64,
    /// Nobody was there to get them.
    pub offline: u64,
    /// Not written, by reason.
    pub dropped: [u64; DROP_REASONS.len()],
    /// System calls that wrote.
    pub writes: u64,
    /// Bytes that they wrote: that a client takes some is progress.
    pub bytes: u64,
}

impl Tally {
    /// Counts `messages` that were dropped.
    pub fn drop(&mut self, reason: DropReason, messages: u64) {
        self.dropped[reason as usize] += messages;
    }

    /// Adds the counts to the metrics and starts from zero.
    pub(crate) fn report(&mut self, metrics: &Metrics) {
        metrics.count(self);
        *self = Self::default();
    }
}
