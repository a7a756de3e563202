//! Slots for entries, and the keys of the entries together.
//!
//! A key of its own would cost a pointer, a length and what the allocator adds;
//! together the keys of a chunk take the bytes that they have.

use std::ops::Range;

use super::servers::ServerId;

/// Slots of a chunk.
pub(super) const SLOTS: usize = 16;

pub(super) struct Chunk {
    slots: Box<[Slot; SLOTS]>,
    keys: Box<str>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) connection: u64,
    pub(super) mid: i64,
    pub(super) server: ServerId,
    pub(super) renewed_secs: u32,
}

enum Slot {
    Taken {
        entry: Entry,
        /// Where in `keys` its key begins, and how long it is.
        start: u32,
        len: u32,
    },
    /// The next free slot of the shard.
    Free(Option<u32>),
}

impl Chunk {
    /// Slots of which each knows the one that is free after it.
    pub(super) fn new(next_free: impl Fn(usize) -> Option<u32>) -> Self {
        Self {
            slots: Box::new(std::array::from_fn(|slot| Slot::Free(next_free(slot)))),
            keys: Box::default(),
        }
    }

    pub(super) fn entry(&mut self, slot: usize) -> Option<&mut Entry> {
        match &mut self.slots[slot] {
            Slot::Taken { entry, .. } => Some(entry),
            Slot::Free(_) => None,
        }
    }

    /// The key of a slot that is taken.
    pub(super) fn key(&self, slot: usize) -> Option<&str> {
        Some(&self.keys[self.slots[slot].key_range()?])
    }

    /// The entries with their slots and keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, &str, &Entry)> {
        self.slots.iter().enumerate().filter_map(|(slot, content)| {
            let Slot::Taken { entry, .. } = content else {
                return None;
            };
            Some((slot, self.key(slot)?, entry))
        })
    }

    /// Fills a free slot, and returns the one that is free after it.
    pub(super) fn put(&mut self, slot: usize, key: &str, entry: Entry) -> Option<u32> {
        let taken = Slot::Taken {
            entry,
            start: length(&self.keys),
            len: length(key),
        };
        self.keys = [&*self.keys, key].concat().into_boxed_str();
        match std::mem::replace(&mut self.slots[slot], taken) {
            Slot::Free(next) => next,
            Slot::Taken { .. } => None,
        }
    }

    /// Empties a slot; `next` is the one that is free after it.
    pub(super) fn free(&mut self, slot: usize, next: Option<u32>) {
        let freed = std::mem::replace(&mut self.slots[slot], Slot::Free(next));
        let (Some(range), Slot::Taken { len: removed, .. }) = (freed.key_range(), freed) else {
            return;
        };
        self.keys = [&self.keys[..range.start], &self.keys[range.end..]]
            .concat()
            .into_boxed_str();
        for other in &mut *self.slots {
            if let Slot::Taken { start, .. } = other
                && *start as usize >= range.end
            {
                *start -= removed;
            }
        }
    }
}

impl Slot {
    fn key_range(&self) -> Option<Range<usize>> {
        match self {
            Self::Taken { start, len, .. } => {
                let start = *start as usize;
                Some(start..start + *len as usize)
            }
            Self::Free(_) => None,
        }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.len()).expect("invariant: keys are short")
}

#[cfg(test)]
impl Chunk {
    /// Bytes of all but the keys.
    pub(super) const BYTES: usize = size_of::<Self>() + SLOTS * size_of::<Slot>();
}

#[cfg(test)]
mod tests {
    use super::super::servers::Servers;
    use super::*;

    #[test]
    fn keys_stay_with_their_slots() {
        let server = Servers::default().add("comet-1", 1).unwrap();
        let entry = |mid| Entry {
            connection: 1,
            mid,
            server,
            renewed_secs: 0,
        };
        let mut chunk = Chunk::new(|_| None);
        for (slot, key) in ["first", "", "third", "fourth"].into_iter().enumerate() {
            chunk.put(slot, key, entry(0));
        }

        chunk.free(2, Some(9));
        chunk.free(0, Some(2));
        assert_eq!(chunk.put(2, "a new third", entry(7)), Some(9));

        let left: Vec<_> = chunk
            .entries()
            .map(|(slot, key, entry)| (slot, key, entry.mid))
            .collect();
        assert_eq!(left, [(1, "", 0), (2, "a new third", 7), (3, "fourth", 0)]);
        assert_eq!(&*chunk.keys, "fourtha new third");
        assert_eq!(chunk.key(0), None);
    }

    #[test]
    fn a_slot_takes_32_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
