//! What a subscription has read and not committed: no I/O, no clock.
//!
//! Records of a partition leave in the order of their offsets, and a partition
//! is committed up to its first record that is not accounted for.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;

type RecordId = u64;

/// Limits of each partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
}

#[derive(Debug)]
pub(super) struct Tracker {
    limits: Limits,
    next_id: RecordId,
    /// All that is not accounted for.
    records: HashMap<RecordId, Record>,
    /// Pushes in nobody's hands.
    waiting: BTreeSet<RecordId>,
    /// Records for the dead-letter topic, in nobody's hands.
    dead: VecDeque<RecordId>,
    partitions: HashMap<i32, Partition>,
}

#[derive(Debug)]
struct Record {
    partition: i32,
    offset: i64,
    bytes: usize,
    published: Instant,
    content: Content,
    is_held: bool,
}

/// What was read.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Push(Arc<PushMsg>),
    Undecodable(Arc<Undecodable>),
}

/// A record that is no push.
#[derive(Debug)]
pub(super) struct Undecodable {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) reason: String,
}

/// Where a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

#[derive(Debug, Default)]
struct Partition {
    /// Records in the order of their offsets, those at the front unaccounted.
    order: VecDeque<RecordId>,
    /// The offset after the last record read.
    end: i64,
    /// Of the records unaccounted for.
    unaccounted: usize,
    bytes: usize,
    /// Of these, records in somebody's hands.
    held: usize,
    committed: i64,
    /// The commit that was begun last, and what that was at the last look.
    begun: [i64; 2],
    is_paused: bool,
    /// Nothing more is handed out, for it goes to another member.
    is_leaving: bool,
}

/// A push to be handed out.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: RecordId,
    pub(super) msg: Arc<PushMsg>,
    pub(super) published: Instant,
}

/// A record to be put into the dead-letter topic.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) id: RecordId,
    pub(super) place: Place,
    pub(super) record: Arc<Undecodable>,
}

impl Tracker {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_id: 0,
            records: HashMap::new(),
            waiting: BTreeSet::new(),
            dead: VecDeque::new(),
            partitions: HashMap::new(),
        }
    }

    /// Partitions of which records will be read.
    pub(super) fn assign(&mut self, partitions: &[i32]) {
        for &partition in partitions {
            self.partitions.entry(partition).or_default();
        }
    }

    /// A record that was read. Whether the partition is full with it and must
    /// be paused. What belongs to no partition of ours is left to its owner.
    pub(super) fn push(
        &mut self,
        place: Place,
        bytes: usize,
        published: Instant,
        content: Content,
    ) -> bool {
        let Some(partition) = self.partitions.get_mut(&place.partition) else {
            return false;
        };
        let id = self.next_id;
        self.next_id += 1;
        if partition.end == 0 {
            // Where we begin to read is committed.
            partition.committed = place.offset;
        }
        partition.order.push_back(id);
        partition.end = place.offset + 1;
        partition.unaccounted += 1;
        partition.bytes += bytes;
        match &content {
            Content::Push(_) => {
                self.waiting.insert(id);
            }
            Content::Undecodable(_) => self.dead.push_back(id),
        }
        self.records.insert(
            id,
            Record {
                partition: place.partition,
                offset: place.offset,
                bytes,
                published,
                content,
                is_held: false,
            },
        );
        let is_full = partition.unaccounted >= self.limits.records_max
            || partition.bytes >= self.limits.bytes_max;
        let pause = is_full && !partition.is_paused;
        partition.is_paused |= is_full;
        pause
    }

    /// Hands out the push that was read first.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let id = self.waiting.pop_first()?;
        let record = self.hold(id)?;
        match &record.content {
            Content::Push(msg) => Some(Taken {
                id,
                msg: Arc::clone(msg),
                published: record.published,
            }),
            Content::Undecodable(_) => None,
        }
    }

    /// Hands out at most `max` records for the dead-letter topic.
    pub(super) fn take_dead(&mut self, max: usize) -> Vec<Dead> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(id) = self.dead.pop_front()
        {
            if let Some(record) = self.hold(id)
                && let Content::Undecodable(content) = &record.content
            {
                let (partition, offset) = (record.partition, record.offset);
                let place = Place { partition, offset };
                let record = Arc::clone(content);
                taken.push(Dead { id, place, record });
            }
        }
        taken
    }

    fn hold(&mut self, id: RecordId) -> Option<&Record> {
        let record = self.records.get_mut(&id)?;
        record.is_held = true;
        if let Some(partition) = self.partitions.get_mut(&record.partition) {
            partition.held += 1;
        }
        Some(record)
    }

    /// The record is accounted for. One that went to another member is not
    /// ours to account for any more.
    pub(super) fn done(&mut self, id: RecordId) {
        let Some(record) = self.records.remove(&id) else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&record.partition) else {
            return;
        };
        partition.unaccounted -= 1;
        partition.bytes -= record.bytes;
        partition.held -= usize::from(record.is_held);
        while let Some(first) = partition.order.front()
            && !self.records.contains_key(first)
        {
            partition.order.pop_front();
        }
    }

    /// The record has to be handed out again. Whether it will be.
    pub(super) fn returned(&mut self, id: RecordId) -> bool {
        let Some(record) = self.records.get_mut(&id) else {
            return false;
        };
        let Some(partition) = self.partitions.get_mut(&record.partition) else {
            return false;
        };
        partition.held -= usize::from(std::mem::take(&mut record.is_held));
        if partition.is_leaving {
            return false;
        }
        self.waiting.insert(id)
    }

    /// Hands out nothing more of these partitions.
    pub(super) fn withhold(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.is_leaving = true;
            }
        }
        let leaving = |id: &RecordId| {
            let record = self.records.get(id);
            record.is_some_and(|record| partitions.contains(&record.partition))
        };
        self.waiting.retain(|id| !leaving(id));
        self.dead.retain(|id| !leaving(id));
    }

    /// Whether records of these partitions are in somebody's hands.
    pub(super) fn is_held(&self, partitions: &[i32]) -> bool {
        partitions
            .iter()
            .filter_map(|partition| self.partitions.get(partition))
            .any(|partition| partition.held > 0)
    }

    /// Forgets these partitions; acknowledgements of their records mean
    /// nothing any more. Returns those that are paused.
    pub(super) fn revoke(&mut self, partitions: &[i32]) -> Vec<i32> {
        self.withhold(partitions);
        let mut paused = Vec::new();
        for &number in partitions {
            let Some(partition) = self.partitions.remove(&number) else {
                continue;
            };
            for id in partition.order {
                self.records.remove(&id);
            }
            if partition.is_paused {
                paused.push(number);
            }
        }
        paused
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.waiting.clear();
        self.dead.clear();
        self.partitions.clear();
    }

    /// Partitions whose first unaccounted record has changed since the last
    /// call, with its offset.
    pub(super) fn commits(&mut self) -> Vec<Place> {
        let records = &self.records;
        let moved = self
            .partitions
            .iter_mut()
            .filter_map(|(&number, partition)| {
                let first = partition.order.front().and_then(|id| records.get(id));
                let offset = first.map_or(partition.end, |record| record.offset);
                let has_moved = offset > partition.committed;
                partition.committed = partition.committed.max(offset);
                if has_moved {
                    partition.begun[0] = offset;
                }
                has_moved.then_some(Place {
                    partition: number,
                    offset,
                })
            });
        moved.collect()
    }

    /// These were not committed after all.
    pub(super) fn not_committed(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.committed = 0;
                partition.begun = [0; 2];
            }
        }
    }

    /// Partitions whose commit failed: one that was begun before the last look
    /// is not among those that the brokers have `confirmed` by this one.
    pub(super) fn unconfirmed(&mut self, confirmed: impl Iterator<Item = (i32, i64)>) -> Vec<i32> {
        let mut failed = Vec::new();
        for (number, offset) in confirmed {
            let Some(partition) = self.partitions.get_mut(&number) else {
                continue;
            };
            let [begun, before] = partition.begun;
            partition.begun[1] = begun;
            if before > 0 && offset < before {
                failed.push(number);
            }
        }
        self.not_committed(&failed);
        failed
    }

    /// Partitions that were full and have room again.
    pub(super) fn resumes(&mut self) -> Vec<i32> {
        let Limits {
            records_max,
            bytes_max,
        } = self.limits;
        let roomy = self
            .partitions
            .iter_mut()
            .filter_map(|(&number, partition)| {
                let has_room =
                    partition.unaccounted <= records_max / 2 && partition.bytes <= bytes_max / 2;
                let resume = partition.is_paused && has_room;
                partition.is_paused &= !resume;
                resume.then_some(number)
            });
        roomy.collect()
    }

    /// Whether a partition is full.
    pub(super) fn is_paused(&self) -> bool {
        self.partitions
            .values()
            .any(|partition| partition.is_paused)
    }

    /// Partitions, records and bytes unaccounted for.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        let bytes = self.partitions.values().map(|partition| partition.bytes);
        (self.partitions.len(), self.records.len(), bytes.sum())
    }
}

#[cfg(test)]
mod tests;
