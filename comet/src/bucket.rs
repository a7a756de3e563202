//! Connections by key, in shards.
//!
//! A bucket is a slab of entries and a table from key to slot. Whoever removes
//! an entry names the connection it means: a slot that was taken over by a
//! newer connection is left alone.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;
use slab::Slab;

use crate::clock::Tick;
use crate::connection::Connection;

/// Where a connection's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    bucket: u32,
    index: u32,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User; not positive for anonymous ones.
    pub mid: i64,
    /// Name of the connection.
    pub key: Box<str>,
}

/// When a connection's time is up.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Ticks without a heartbeat after which the connection is closed.
    pub idle_ticks: u32,
    /// When its grant ends.
    pub expires: Tick,
    /// When its binding is to be renewed next.
    pub renew: Tick,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    mid: i64,
    last_seen: AtomicU32,
    expires: AtomicU32,
    renew: AtomicU32,
    idle_ticks: u32,
}

/// An entry as the sweep sees it.
#[derive(Debug)]
pub struct Swept<'a> {
    /// The connection.
    pub connection: &'a Arc<Connection>,
    /// No heartbeat came in time.
    pub is_idle: bool,
    /// Its grant has ended.
    pub is_expired: bool,
    /// Its binding is to be renewed.
    pub is_due: bool,
    /// Where it is.
    pub slot: Slot,
    renew: &'a AtomicU32,
}

impl Entry {
    fn identity(&self) -> Identity {
        Identity {
            mid: self.mid,
            key: self.connection.key().into(),
        }
    }
}

impl Swept<'_> {
    /// Sets when the binding is to be renewed next.
    pub fn set_renewal(&self, next: Tick) {
        self.renew.store(next.0, Ordering::Relaxed);
    }
}

/// What came of registering a connection.
#[derive(Debug)]
pub enum Registered {
    /// It is the key's connection now; the one it replaced must be closed.
    New(Slot, Option<Arc<Connection>>),
    /// A later login holds the key already, in this slot.
    Outdated(Slot),
}

#[derive(Debug, Default)]
struct Bucket {
    entries: Slab<Entry>,
    slots: HashTable<u32>,
}

/// All buckets of the node.
#[derive(Debug)]
pub struct Buckets {
    buckets: Box<[RwLock<Bucket>]>,
    /// Seeded per process: keys come from clients.
    hasher: RandomState,
}

impl Buckets {
    /// `count` empty buckets.
    pub fn new(count: usize) -> Self {
        Self {
            buckets: (0..count.max(1)).map(|_| RwLock::default()).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Makes `connection`, of user `mid`, the one that holds its key.
    pub fn register(
        &self,
        mid: i64,
        connection: Arc<Connection>,
        deadlines: Deadlines,
        now: Tick,
    ) -> Registered {
        let hash = self.hasher.hash_one(connection.key());
        let number = self.bucket_of(hash);
        let mut bucket = self.buckets[number as usize].write();
        let bucket = &mut *bucket;
        let entries = &mut bucket.entries;
        let found = bucket
            .slots
            .find(hash, |slot| {
                entries[*slot as usize].connection.key() == connection.key()
            })
            .copied();
        let entry = Entry {
            connection,
            mid,
            last_seen: AtomicU32::new(now.0),
            expires: AtomicU32::new(deadlines.expires.0),
            renew: AtomicU32::new(deadlines.renew.0),
            idle_ticks: deadlines.idle_ticks,
        };
        if let Some(index) = found {
            let slot = Slot {
                bucket: number,
                index,
            };
            let current = &mut entries[index as usize];
            if current.connection.id() > entry.connection.id() {
                return Registered::Outdated(slot);
            }
            let replaced = std::mem::replace(current, entry);
            return Registered::New(slot, Some(replaced.connection));
        }
        let index =
            u32::try_from(entries.insert(entry)).expect("invariant: fewer connections than 2^32");
        let hasher = &self.hasher;
        bucket.slots.insert_unique(hash, index, |slot| {
            hasher.hash_one(entries[*slot as usize].connection.key())
        });
        Registered::New(
            Slot {
                bucket: number,
                index,
            },
            None,
        )
    }

    /// Removes the connection's entry; `None` if a newer connection holds it.
    pub fn remove(&self, slot: Slot, connection: &Connection) -> Option<Identity> {
        let mut bucket = self.buckets[slot.bucket as usize].write();
        let index = slot.index as usize;
        let entry = bucket.entries.get(index)?;
        if entry.connection.id() != connection.id() {
            return None;
        }
        let hash = self.hasher.hash_one(connection.key());
        if let Ok(found) = bucket.slots.find_entry(hash, |other| *other == slot.index) {
            found.remove();
        }
        let entry = bucket.entries.remove(index);
        if bucket.entries.is_empty() {
            // Gives back what a burst of connections needed.
            *bucket = Bucket::default();
        }
        Some(entry.identity())
    }

    /// The connection with that key.
    pub fn get(&self, key: &str) -> Option<Arc<Connection>> {
        let hash = self.hasher.hash_one(key);
        let bucket = self.buckets[self.bucket_of(hash) as usize].read();
        let entries = &bucket.entries;
        let slot = bucket
            .slots
            .find(hash, |slot| entries[*slot as usize].connection.key() == key)?;
        Some(Arc::clone(&entries[*slot as usize].connection))
    }

    /// Who the connection is; `None` once a newer one holds its key.
    pub fn identity(&self, slot: Slot, connection: &Connection) -> Option<Identity> {
        self.with(slot, connection, Entry::identity)
    }

    /// Notes a heartbeat.
    pub fn touch(&self, slot: Slot, connection: &Connection, now: Tick) {
        self.with(slot, connection, |entry| {
            entry.last_seen.store(now.0, Ordering::Relaxed);
        });
    }

    /// Sets when the connection's grant ends.
    pub fn set_expires(&self, slot: Slot, connection: &Connection, expires: Tick) {
        self.with(slot, connection, |entry| {
            entry.expires.store(expires.0, Ordering::Relaxed);
        });
    }

    /// Sets when the connection's binding is to be renewed next.
    pub fn set_renewal(&self, slot: Slot, connection: &Connection, next: Tick) {
        self.with(slot, connection, |entry| {
            entry.renew.store(next.0, Ordering::Relaxed);
        });
    }

    /// Number of buckets.
    pub fn count(&self) -> usize {
        self.buckets.len()
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.buckets
            .iter()
            .map(|bucket| bucket.read().entries.len())
            .sum()
    }

    /// Looks at every connection of one bucket.
    pub fn sweep(&self, bucket: usize, now: Tick, mut visit: impl FnMut(Swept<'_>)) {
        let slot = |index| Slot {
            bucket: u32::try_from(bucket).expect("invariant: slots have 32 bits for it"),
            index: u32::try_from(index).expect("invariant: fewer connections than 2^32"),
        };
        for (index, entry) in &self.buckets[bucket].read().entries {
            let last_seen = entry.last_seen.load(Ordering::Relaxed);
            visit(Swept {
                connection: &entry.connection,
                is_idle: now.0.saturating_sub(last_seen) > entry.idle_ticks,
                is_expired: entry.expires.load(Ordering::Relaxed) <= now.0,
                is_due: entry.renew.load(Ordering::Relaxed) <= now.0,
                slot: slot(index),
                renew: &entry.renew,
            });
        }
    }

    /// Copies the connections of up to `slots` slots from `from` on, in the order
    /// of their logins.
    ///
    /// Slots are counted across the buckets: the first of each, then the second,
    /// and so on, which is about the order of the logins. What the kernel and the
    /// allocator have of connections that came one after another lies together, so
    /// writes are cheapest in that order.
    ///
    /// Returns `false` when there are no slots from there on.
    pub fn copy_connections(
        &self,
        from: usize,
        slots: usize,
        copies: &mut Vec<Arc<Connection>>,
    ) -> bool {
        copies.clear();
        let buckets = self.buckets.len();
        let capacities = self
            .buckets
            .iter()
            .map(|bucket| bucket.read().entries.capacity());
        let end = buckets * capacities.max().unwrap_or_default();
        for slot in from..end.min(from + slots) {
            let bucket = self.buckets[slot % buckets].read();
            let entry = bucket.entries.get(slot / buckets);
            copies.extend(entry.map(|entry| Arc::clone(&entry.connection)));
        }
        copies.sort_unstable_by_key(|connection| connection.id());
        from < end
    }

    fn with<R>(
        &self,
        slot: Slot,
        connection: &Connection,
        f: impl FnOnce(&Entry) -> R,
    ) -> Option<R> {
        let bucket = self.buckets[slot.bucket as usize].read();
        let entry = bucket.entries.get(slot.index as usize)?;
        (entry.connection.id() == connection.id()).then(|| f(entry))
    }

    fn bucket_of(&self, hash: u64) -> u32 {
        // The low and the top bits choose the place inside a table.
        let bits = (hash >> 24) & u64::from(u32::MAX);
        let bucket = bits % self.buckets.len() as u64;
        u32::try_from(bucket).expect("invariant: 32 bits were taken")
    }
}

#[cfg(test)]
mod tests;
