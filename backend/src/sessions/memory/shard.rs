//! The bindings behind one lock: entries in slots, found through a table of
//! their slots.
//!
//! Entries lie in chunks, so that growth neither copies nor reserves more than
//! a chunk.

use hashbrown::HashTable;

use super::chunk::{self, Chunk, Entry};

#[derive(Default)]
pub(super) struct Shard {
    /// The slot of each key.
    slots: HashTable<u32>,
    chunks: Vec<Chunk>,
    free: Option<u32>,
}

/// A binding that was removed.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) slot: u32,
    pub(super) mid: i64,
}

impl Shard {
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Entry> {
        let (chunk, slot) = place(slot);
        self.chunks[chunk].entry(slot)
    }

    pub(super) fn key(&self, slot: u32) -> Option<&str> {
        key_at(&self.chunks, slot)
    }

    pub(super) fn find(&mut self, hash: u64, key: &str) -> Option<(u32, &mut Entry)> {
        let is_it = |slot: &u32| self.key(*slot) == Some(key);
        let slot = *self.slots.find(hash, is_it)?;
        self.at(slot).map(|entry| (slot, entry))
    }

    /// Adds an entry whose key is not there yet.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: &str,
        entry: Entry,
        hash_of: impl Fn(&str) -> u64,
    ) -> u32 {
        let free = match self.free {
            Some(slot) => slot,
            None => self.add_chunk(),
        };
        let (chunk, slot) = place(free);
        self.free = self.chunks[chunk].put(slot, key, entry);
        let chunks = &self.chunks;
        let rehash = |slot: &u32| key_at(chunks, *slot).map_or(0, &hash_of);
        self.slots.insert_unique(hash, free, rehash);
        free
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        if let Ok(found) = self.slots.find_entry(hash, |other| *other == slot) {
            found.remove();
            let (chunk, place) = place(slot);
            self.chunks[chunk].free(place, self.free);
            self.free = Some(slot);
        }
    }

    pub(super) fn remove_if(
        &mut self,
        is_gone: impl Fn(&Entry) -> bool,
        hash_of: impl Fn(&str) -> u64,
    ) -> Vec<Removed> {
        let mut gone = Vec::new();
        for (chunk, content) in self.chunks.iter().enumerate() {
            for (slot, key, entry) in content.entries().filter(|(.., entry)| is_gone(entry)) {
                let slot = first_of(chunk) + number(slot);
                gone.push((
                    hash_of(key),
                    Removed {
                        slot,
                        mid: entry.mid,
                    },
                ));
            }
        }
        gone.into_iter()
            .map(|(hash, removed)| {
                self.remove(hash, removed.slot);
                removed
            })
            .collect()
    }

    /// Returns its first slot, which is free as all of them.
    fn add_chunk(&mut self) -> u32 {
        let first = first_of(self.chunks.len());
        let is_last = |slot| slot + 1 == chunk::SLOTS;
        let next = |slot| (!is_last(slot)).then(|| first + number(slot) + 1);
        self.chunks.push(Chunk::new(next));
        first
    }
}

/// The chunk of a slot, and its place there.
fn place(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / chunk::SLOTS, slot % chunk::SLOTS)
}

fn first_of(chunk: usize) -> u32 {
    number(chunk * chunk::SLOTS)
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("invariant: the caller limits the slots")
}

/// The key in a slot of the table; a free slot is not in the table.
fn key_at(chunks: &[Chunk], slot: u32) -> Option<&str> {
    let (chunk, slot) = place(slot);
    chunks[chunk].key(slot)
}

#[cfg(test)]
impl Shard {
    /// Bytes of all but the keys.
    pub(super) fn table_bytes(&self) -> usize {
        self.slots.num_buckets() * (size_of::<u32>() + 1) + self.chunks.len() * Chunk::BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::memory::servers::Servers;

    fn entry() -> Entry {
        let server = Servers::default().add("comet-1", 1).unwrap();
        Entry {
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
        let insert = |shard: &mut Shard, key: &str| shard.insert(7, key, entry(), |_| 7);
        let slots: Vec<u32> = keys.iter().map(|key| insert(&mut shard, key)).collect();

        for (key, slot) in keys.iter().zip(&slots).step_by(2) {
            shard.remove(7, *slot);
            assert!(shard.find(7, key).is_none());
        }

        for (n, key) in keys.iter().enumerate() {
            let found = shard.find(7, key).map(|(slot, _)| slot);
            assert_eq!(found, (n % 2 == 1).then(|| slots[n]));
        }
        assert_eq!(insert(&mut shard, "new"), slots[198], "slots are reused");
    }
}
