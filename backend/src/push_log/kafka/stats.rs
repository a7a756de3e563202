//! What a log has done, for whoever exports it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the log was made, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KafkaStats {
    /// Records that Kafka took.
    pub published: u64,
    /// Records that it did not take, or not in time.
    pub not_published: u64,
    /// Records on their way to Kafka.
    pub queued_records: u64,
    /// Bytes of their keys and values.
    pub queued_bytes: u64,
    /// Records read, also those that are no pushes.
    pub read: u64,
    /// Records delivered again because their acknowledgement was dropped.
    pub redelivered: u64,
    /// Records put into the dead-letter topic.
    pub dead_letters: u64,
    /// Attempts to do so that failed; each is followed by another.
    pub dead_letter_failures: u64,
    /// Commits that failed; the next one makes up for it.
    pub commit_failures: u64,
    /// Changes of the partitions that subscriptions have.
    pub rebalances: u64,
    /// Partitions that subscriptions have.
    pub partitions: u64,
    /// Records read and not accounted for.
    pub in_flight_records: u64,
    /// Their bytes.
    pub in_flight_bytes: u64,
    /// Records of our partitions that are not committed, as of the last
    /// second.
    pub lag_records: u64,
}

/// The counts, shared by a log and its subscriptions.
#[derive(Debug, Default)]
pub(super) struct Counters {
    published: AtomicU64,
    not_published: AtomicU64,
    read: AtomicU64,
    redelivered: AtomicU64,
    dead_letters: AtomicU64,
    dead_letter_failures: AtomicU64,
    commit_failures: AtomicU64,
    rebalances: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn published(&self, records: usize, is_taken: bool) {
        let counter = if is_taken {
            &self.published
        } else {
            &self.not_published
        };
        add(counter, records);
    }

    pub(super) fn read(&self) {
        add(&self.read, 1);
    }

    pub(super) fn redelivered(&self) {
        add(&self.redelivered, 1);
    }

    pub(super) fn dead_letter(&self) {
        add(&self.dead_letters, 1);
    }

    pub(super) fn dead_letter_failure(&self) {
        add(&self.dead_letter_failures, 1);
    }

    pub(super) fn commit_failure(&self) {
        add(&self.commit_failures, 1);
    }

    pub(super) fn rebalance(&self) {
        add(&self.rebalances, 1);
    }

    /// The counts; what is there now is for others to fill in.
    pub(super) fn stats(&self) -> KafkaStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KafkaStats {
            published: count(&self.published),
            not_published: count(&self.not_published),
            read: count(&self.read),
            redelivered: count(&self.redelivered),
            dead_letters: count(&self.dead_letters),
            dead_letter_failures: count(&self.dead_letter_failures),
            commit_failures: count(&self.commit_failures),
            rebalances: count(&self.rebalances),
            ..KafkaStats::default()
        }
    }
}
