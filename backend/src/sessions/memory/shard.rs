//! The bindings behind one lock: entries in slots, found through a table of
//! their slots.
//!
//! Entries lie in chunks, so that growth neither copies nor reserves more than
//! a chunk.

use hashbrown::HashTable;

use super::servers::ServerId;

/// Slots of a chunk.
const CHUNK: u32 = 16;

#[derive(Default)]
pub(super) struct Shard {
    /// The slot of each key.
    slots: HashTable<u32>,
    chunks: Vec<Box<[Slot]>>,
    free: Option<u32>,
}

pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) connection: u64,
    pub(super) mid: i64,
    pub(super) server: ServerId,
    pub(super) renewed_secs: u32,
}

enum Slot {
    Taken(Entry),
    /// The next free slot.
    Free(Option<u32>),
}

/// A binding that was removed.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) slot: u32,
    pub(super) mid: i64,
}

impl Slot {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Taken(entry) => Some(entry),
            Self::Free(_) => None,
        }
    }
}

impl Shard {
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Entry> {
        match at(&mut self.chunks, slot) {
            Slot::Taken(entry) => Some(entry),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn find(&mut self, hash: u64, key: &str) -> Option<(u32, &mut Entry)> {
        let chunks = &self.chunks;
        let slot = *self
            .slots
            .find(hash, |slot| *key_at(chunks, *slot) == *key)?;
        self.at(slot).map(|entry| (slot, entry))
    }

    /// Adds an entry whose key is not there yet.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry, hash_of: impl Fn(&str) -> u64) -> u32 {
        let slot = self.take_free();
        *at(&mut self.chunks, slot) = Slot::Taken(entry);
        let chunks = &self.chunks;
        let rehash = |slot: &u32| hash_of(key_at(chunks, *slot));
        self.slots.insert_unique(hash, slot, rehash);
        slot
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if let Ok(found) = self.slots.find_entry(hash, |other| *other == slot) {
            found.remove();
            *at(&mut self.chunks, slot) = Slot::Free(self.free);
            self.free = Some(slot);
        }
    }

    pub(super) fn remove_if(
        &mut self,
        is_gone: impl Fn(&Entry) -> bool,
        hash_of: impl Fn(&str) -> u64,
    ) -> Vec<Removed> {
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter());
        let gone: Vec<_> = (0_u32..)
            .zip(slots)
            .filter_map(|(slot, content)| {
                let entry = content.entry().filter(|entry| is_gone(entry))?;
                let mid = entry.mid;
                Some((hash_of(&entry.key), Removed { slot, mid }))
            })
            .collect();
        gone.into_iter()
            .map(|(hash, removed)| {
                self.remove(hash, removed.slot);
                removed
            })
            .collect()
    }

    fn take_free(&mut self) -> u32 {
        let slot = match self.free {
            Some(slot) => slot,
            None => self.add_chunk(),
        };
        self.free = match at(&mut self.chunks, slot) {
            Slot::Free(next) => *next,
            Slot::Taken(_) => None,
        };
        slot
    }

    /// Returns its first slot, which is free as all of them.
    fn add_chunk(&mut self) -> u32 {
        let chunks = u32::try_from(self.chunks.len());
        let first = CHUNK * chunks.expect("invariant: the caller limits the slots");
        let last = first + CHUNK - 1;
        let chunk = (first..=last).map(|slot| Slot::Free((slot < last).then_some(slot + 1)));
        self.chunks.push(chunk.collect());
        first
    }
}

fn at(chunks: &mut [Box<[Slot]>], slot: u32) -> &mut Slot {
    &mut chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
}

/// The key in a slot of the table; a free slot is not in the table.
fn key_at(chunks: &[Box<[Slot]>], slot: u32) -> &str {
    let slot = &chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize];
    slot.entry().map_or("", |entry| &entry.key)
}

#[cfg(test)]
impl Shard {
    /// Bytes of all but the keys.
    pub(super) fn table_bytes(&self) -> usize {
        self.slots.num_buckets() * (size_of::<u32>() + 1)
            + self.chunks.len() * CHUNK as usize * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::memory::servers::Servers;

    fn entry(key: &str) -> Entry {
        let server = Servers::default().add("comet-1", 1).unwrap();
        Entry {
            key: key.into(),
            connection: 1,
            mid: 1,
            server,
            renewed_secs: 0,
        }
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut shard = Shard::default();
        let keys: Vec<String> = (0..200).map(|n| format!("key-{n}")).collect();
        let insert = |shard: &mut Shard, key: &str| shard.insert(7, entry(key), |_| 7);
        let slots: Vec<u32> = keys.iter().map(|key| insert(&mut shard, key)).collect();

        for (key, slot) in keys.iter().zip(&slots).step_by(2) {
            shard.remove(7, *slot);
            assert!(shard.find(7, key).is_none());
        }

        for (n, key) in keys.iter().enumerate() {
            let found = shard.find(7, key).map(|(slot, entry)| (slot, &*entry.key));
            let expected = (n % 2 == 1).then(|| (slots[n], key.as_str()));
            assert_eq!(found, expected);
        }
        assert_eq!(insert(&mut shard, "new"), slots[198], "slots are reused");
    }

    #[test]
    fn a_slot_takes_40_bytes() {
        assert_eq!(size_of::<Slot>(), 40);
    }
}
