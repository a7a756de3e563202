//! Where each user's bindings are. Most users have one.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Place;

/// Users are told apart by 32 bits of their hash, and for certain only by the
/// bindings: what is found for one may be another's.
#[derive(Default)]
pub(super) struct Users {
    /// One binding for each hash.
    one: HashTable<(u32, Place)>,
    /// The others, by user.
    more: HashMap<i64, Vec<Place>, RandomState>,
}

impl Users {
    /// Adds a binding of user `mid`, whose hash is `hash`.
    pub(super) fn add(&mut self, hash: u32, mid: i64, place: Place) {
        let is_first = self.of_hash(hash).is_none();
        if is_first {
            self.one
                .insert_unique(spread(hash), (hash, place), |(hash, _)| spread(*hash));
        } else {
            self.more.entry(mid).or_default().push(place);
        }
    }

    pub(super) fn remove(&mut self, hash: u32, mid: i64, place: Place) {
        let is_it = |(other, at): &(u32, Place)| *other == hash && *at == place;
        let more = self.more.get_mut(&mid);
        if let Ok(mut one) = self.one.find_entry(spread(hash), is_it) {
            match more.and_then(Vec::pop) {
                Some(other) => one.get_mut().1 = other,
                None => drop(one.remove()),
            }
        } else if let Some(more) = more {
            more.retain(|other| *other != place);
        }
        if self.more.get(&mid).is_some_and(Vec::is_empty) {
            self.more.remove(&mid);
        }
    }

    /// Places among which are all bindings of user `mid`.
    pub(super) fn of(&self, hash: u32, mid: i64) -> Vec<Place> {
        let more = self.more.get(&mid).into_iter().flatten();
        self.of_hash(hash)
            .into_iter()
            .chain(more.copied())
            .collect()
    }

    fn of_hash(&self, hash: u32) -> Option<Place> {
        let found = self
            .one
            .find(spread(hash), |(other, _)| *other == hash)
            .copied();
        found.map(|(_, place)| place)
    }
}

/// The table looks at the highest and the lowest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
impl Users {
    /// Bytes of the table of those who have one binding.
    pub(super) fn table_bytes(&self) -> usize {
        self.one.num_buckets() * (size_of::<(u32, Place)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_one_hash_lose_nothing_to_each_other() {
        let mut users = Users::default();
        let place = |slot| Place::new(0, slot);
        users.add(7, 1, place(1));
        users.add(7, 2, place(2));
        users.add(7, 1, place(3));

        assert_eq!(users.of(7, 1), [place(1), place(3)]);
        assert!(users.of(7, 2).contains(&place(2)));
        users.remove(7, 1, place(1));
        assert_eq!(users.of(7, 1), [place(3)]);
        users.remove(7, 1, place(3));
        assert_eq!(users.of(7, 1), []);
        assert_eq!(users.of(7, 2), [place(2)]);
        users.remove(7, 2, place(2));
        assert!(users.of(7, 2).is_empty() && users.more.is_empty());
    }
}
