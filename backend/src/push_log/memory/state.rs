//! What the memory log knows, changed only under its lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use halley_proto::goim::logic::PushMsg;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::{Depth, PublishError, SubscribeError, partition, record_key};
use super::MemoryConfig;

pub(super) type SubscriberId = u64;
type RecordId = u64;

pub(super) struct State {
    config: MemoryConfig,
    next_record: RecordId,
    next_subscriber: SubscriberId,
    /// All that is not acknowledged, oldest first.
    records: BTreeMap<RecordId, Record>,
    bytes: usize,
    partitions: Box<[Partition]>,
    subscribers: Vec<Subscriber>,
    closed: bool,
}

pub(super) struct Record {
    msg: Arc<PushMsg>,
    published: Instant,
    bytes: usize,
    partition: usize,
    holder: Option<SubscriberId>,
}

#[derive(Default)]
struct Partition {
    /// Records in nobody's hands, oldest first.
    waiting: VecDeque<RecordId>,
    /// Records in the owner's hands.
    held: usize,
    owner: Option<SubscriberId>,
    /// Who owns it as soon as none of its records is held.
    heir: Option<SubscriberId>,
}

struct Subscriber {
    id: SubscriberId,
    wake: Arc<Notify>,
    held: usize,
    draining: bool,
    /// The front record of each of its partitions with waiting records. An
    /// entry that is no longer a front is stale and skipped.
    fronts: BinaryHeap<Reverse<(RecordId, usize)>>,
}

pub(super) enum Taken {
    Record {
        id: RecordId,
        msg: Arc<PushMsg>,
        published: Instant,
    },
    /// Nothing now.
    Nothing,
    /// Nothing now, and nothing that could still come.
    End,
}

impl State {
    pub(super) fn new(config: MemoryConfig) -> Self {
        let partitions = (0..config.partitions.max(1))
            .map(|_| Partition::default())
            .collect();
        Self {
            config,
            next_record: 0,
            next_subscriber: 0,
            records: BTreeMap::new(),
            bytes: 0,
            partitions,
            subscribers: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn publish(
        &mut self,
        msgs: Vec<PushMsg>,
        published: Instant,
    ) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::Closed);
        }
        let records = msgs.len();
        let bytes: usize = msgs.iter().map(Message::encoded_len).sum();
        if bytes > self.config.bytes_max || records > self.config.records_max {
            return Err(PublishError::TooLarge { bytes, records });
        }
        let fits = bytes <= self.config.bytes_max - self.bytes
            && records <= self.config.records_max - self.records.len();
        if !fits {
            let retry_after = self.config.retry_after;
            return Err(PublishError::Full { retry_after });
        }
        for msg in msgs {
            self.append(msg, published);
        }
        Ok(())
    }

    fn append(&mut self, msg: PushMsg, published: Instant) {
        let id = self.next_record;
        self.next_record += 1;
        let bytes = msg.encoded_len();
        self.bytes += bytes;
        let partition = self.partition_of(&msg);
        let record = Record {
            msg: Arc::new(msg),
            published,
            bytes,
            partition,
            holder: None,
        };
        self.records.insert(id, record);
        self.put_back(id, partition);
    }

    fn partition_of(&self, msg: &PushMsg) -> usize {
        let count = u32::try_from(self.partitions.len())
            .expect("invariant: the count comes from a 32-bit config value");
        partition(record_key(msg).as_bytes(), count) as usize
    }

    pub(super) fn subscribe(&mut self) -> Result<(SubscriberId, Arc<Notify>), SubscribeError> {
        if self.subscribers.len() >= self.config.subscribers_max {
            return Err(SubscribeError::Full);
        }
        let id = self.next_subscriber;
        self.next_subscriber += 1;
        let wake = Arc::new(Notify::new());
        self.subscribers.push(Subscriber {
            id,
            wake: Arc::clone(&wake),
            held: 0,
            draining: false,
            fronts: BinaryHeap::new(),
        });
        self.deal();
        Ok((id, wake))
    }

    pub(super) fn unsubscribe(&mut self, id: SubscriberId) {
        self.subscribers.retain(|subscriber| subscriber.id != id);
        let mut held = Vec::new();
        for (&record_id, record) in self.records.iter_mut().rev() {
            if record.holder == Some(id) {
                record.holder = None;
                held.push((record_id, record.partition));
            }
        }
        for (record_id, partition) in held {
            self.partitions[partition].held -= 1;
            self.put_back(record_id, partition);
        }
        self.deal();
        self.wake_if_ending();
    }

    pub(super) fn take(&mut self, id: SubscriberId) -> Taken {
        let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.id == id) else {
            return Taken::End;
        };
        while let Some(Reverse((record_id, index))) = subscriber.fronts.pop() {
            let partition = &mut self.partitions[index];
            if !partition.is_settled_on(id) || partition.waiting.front() != Some(&record_id) {
                continue;
            }
            partition.waiting.pop_front();
            partition.held += 1;
            if let Some(&front) = partition.waiting.front() {
                subscriber.fronts.push(Reverse((front, index)));
            }
            subscriber.held += 1;
            let record = self
                .records
                .get_mut(&record_id)
                .expect("invariant: a waiting record is unacknowledged");
            record.holder = Some(id);
            return Taken::Record {
                id: record_id,
                msg: Arc::clone(&record.msg),
                published: record.published,
            };
        }
        // What others hold comes back when they vanish.
        if (self.closed || subscriber.draining) && self.records.len() == subscriber.held {
            return Taken::End;
        }
        Taken::Nothing
    }

    /// Removes a record that `holder` still has; late news of one that was
    /// given to somebody else changes nothing.
    pub(super) fn done(&mut self, holder: SubscriberId, id: RecordId) -> Option<Record> {
        let partition = self.release(holder, id)?;
        let record = self.records.remove(&id)?;
        self.bytes -= record.bytes;
        self.settle(partition);
        self.wake_if_ending();
        Some(record)
    }

    pub(super) fn returned(&mut self, holder: SubscriberId, id: RecordId) {
        if let Some(partition) = self.release(holder, id) {
            self.put_back(id, partition);
            self.settle(partition);
        }
    }

    pub(super) fn drain(&mut self, id: SubscriberId) {
        if let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.id == id) {
            subscriber.draining = true;
            subscriber.wake.notify_one();
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.wake_if_ending();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn depth(&self, now: Instant) -> Depth {
        let oldest = self.records.first_key_value();
        Depth {
            records: self.records.len(),
            bytes: self.bytes,
            oldest: oldest.map_or(Duration::ZERO, |(_, record)| now - record.published),
        }
    }

    /// Takes a record out of its holder's hands.
    fn release(&mut self, holder: SubscriberId, id: RecordId) -> Option<usize> {
        let record = self.records.get_mut(&id)?;
        if record.holder != Some(holder) {
            return None;
        }
        record.holder = None;
        self.partitions[record.partition].held -= 1;
        if let Some(subscriber) = self.subscribers.iter_mut().find(|s| s.id == holder) {
            subscriber.held -= 1;
        }
        Some(record.partition)
    }

    /// Lets a record wait in its place.
    fn put_back(&mut self, id: RecordId, index: usize) {
        let waiting = &mut self.partitions[index].waiting;
        let place = match waiting.back() {
            Some(&last) if last > id => waiting.partition_point(|&other| other < id),
            Some(_) | None => waiting.len(),
        };
        waiting.insert(place, id);
        if place == 0 {
            self.offer(index);
        }
    }

    /// Deals the partitions to the subscribers.
    fn deal(&mut self) {
        for index in 0..self.partitions.len() {
            let heir = match self.subscribers.len() {
                0 => None,
                count => Some(self.subscribers[index % count].id),
            };
            self.partitions[index].heir = heir;
            self.settle(index);
            self.offer(index);
        }
    }

    /// Hands a partition over if it must be and can be.
    fn settle(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if partition.held == 0 && partition.owner != partition.heir {
            partition.owner = partition.heir;
            self.offer(index);
        }
    }

    /// Shows the partition's front to its owner.
    fn offer(&mut self, index: usize) {
        let partition = &self.partitions[index];
        let Some(&front) = partition.waiting.front() else {
            return;
        };
        let owner = self
            .subscribers
            .iter_mut()
            .find(|subscriber| partition.is_settled_on(subscriber.id));
        if let Some(subscriber) = owner {
            subscriber.fronts.push(Reverse((front, index)));
            subscriber.wake.notify_one();
        }
    }

    fn wake_if_ending(&self) {
        for subscriber in &self.subscribers {
            if self.closed || subscriber.draining {
                subscriber.wake.notify_one();
            }
        }
    }
}

impl Partition {
    fn is_settled_on(&self, id: SubscriberId) -> bool {
        self.owner == Some(id) && self.heir == Some(id)
    }
}
