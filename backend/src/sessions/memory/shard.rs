//! The bindings behind one lock: entries in slots, found by the hash of their
//! key.
//!
//! Entries lie in chunks, so that growth neither copies nor reserves more than
//! a chunk. Keys with the same hash are chained through their slots.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::servers::ServerId;

/// Slots of a chunk.
const CHUNK: u32 = 64;

#[derive(Default)]
pub(super) struct Shard {
    /// The first slot of each hash.
    heads: HashMap<u32, u32, RandomState>,
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

struct Slot {
    entry: Option<Entry>,
    /// The next slot of the same hash, or the next free one.
    next: Option<NextSlot>,
}

/// A slot's number in a form of which `Option` takes no more space.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NextSlot(std::num::NonZeroU32);

impl NextSlot {
    fn new(slot: u32) -> Self {
        let number = std::num::NonZeroU32::MIN.saturating_add(slot);
        Self(number)
    }

    fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// A binding that was removed.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) slot: u32,
    pub(super) mid: i64,
}

impl Shard {
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slot(slot).entry.as_mut()
    }

    pub(super) fn find(&mut self, hash: u32, key: &str) -> Option<(u32, &mut Entry)> {
        let mut slot = *self.heads.get(&hash)?;
        while self.at(slot).is_none_or(|entry| *entry.key != *key) {
            slot = self.slot(slot).next?.slot();
        }
        self.at(slot).map(|entry| (slot, entry))
    }

    /// Adds an entry whose key is not there yet.
    pub(super) fn insert(&mut self, hash: u32, entry: Entry) -> u32 {
        let slot = self.take_free();
        let head = self.heads.insert(hash, slot);
        *self.slot(slot) = Slot {
            entry: Some(entry),
            next: head.map(NextSlot::new),
        };
        slot
    }

    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        self.unchain(hash, slot);
        let next = self.free.map(NextSlot::new);
        *self.slot(slot) = Slot { entry: None, next };
        self.free = Some(slot);
    }

    pub(super) fn remove_if(
        &mut self,
        is_gone: impl Fn(&Entry) -> bool,
        hash_of: impl Fn(&str) -> u32,
    ) -> Vec<Removed> {
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter());
        let gone: Vec<_> = (0_u32..)
            .zip(slots)
            .filter_map(|(slot, content)| {
                let entry = content.entry.as_ref().filter(|entry| is_gone(entry))?;
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

    fn unchain(&mut self, hash: u32, slot: u32) {
        let after = self.slot(slot).next;
        let Some(&head) = self.heads.get(&hash) else {
            return;
        };
        if head == slot {
            match after {
                Some(next) => self.heads.insert(hash, next.slot()),
                None => self.heads.remove(&hash),
            };
            return;
        }
        let mut before = head;
        while let Some(next) = self.slot(before).next {
            if next.slot() == slot {
                self.slot(before).next = after;
                return;
            }
            before = next.slot();
        }
    }

    fn take_free(&mut self) -> u32 {
        if self.free.is_none() {
            self.add_chunk();
        }
        let slot = self.free.expect("invariant: a new chunk has free slots");
        self.free = self.slot(slot).next.map(NextSlot::slot);
        slot
    }

    fn add_chunk(&mut self) {
        let chunks = u32::try_from(self.chunks.len());
        let first = CHUNK * chunks.expect("invariant: the caller limits the slots");
        let last = first + CHUNK - 1;
        let chunk = (first..=last).map(|slot| Slot {
            entry: None,
            next: (slot < last).then(|| NextSlot::new(slot + 1)),
        });
        let chunk = chunk.collect();
        self.chunks.push(chunk);
        self.free = Some(first);
    }

    fn slot(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
    }
}

#[cfg(test)]
impl Shard {
    /// Bytes of all but the keys.
    pub(super) fn table_bytes(&self) -> usize {
        let buckets = (self.heads.capacity() * 8 / 7).next_power_of_two();
        buckets * (size_of::<(u32, u32)>() + 1)
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
        let slots: Vec<u32> = keys.iter().map(|key| shard.insert(7, entry(key))).collect();

        for (key, slot) in keys.iter().zip(&slots).step_by(2) {
            shard.remove(7, *slot);
            assert!(shard.find(7, key).is_none());
        }

        for (n, key) in keys.iter().enumerate() {
            let found = shard.find(7, key).map(|(slot, entry)| (slot, &*entry.key));
            let expected = (n % 2 == 1).then(|| (slots[n], key.as_str()));
            assert_eq!(found, expected);
        }
        assert_eq!(
            shard.insert(7, entry("new")),
            slots[198],
            "slots are reused"
        );
    }

    #[test]
    fn a_slot_takes_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }
}
