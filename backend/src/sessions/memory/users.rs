//! Where each user's bindings are. Most users have one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use super::Place;

#[derive(Default)]
pub(super) struct Users {
    /// The first binding of each user.
    one: HashMap<i64, Place, RandomState>,
    /// The others of those who have several.
    more: HashMap<i64, Vec<Place>, RandomState>,
}

impl Users {
    pub(super) fn add(&mut self, mid: i64, place: Place) {
        match self.one.entry(mid) {
            Entry::Vacant(one) => {
                one.insert(place);
            }
            Entry::Occupied(_) => self.more.entry(mid).or_default().push(place),
        }
    }

    pub(super) fn remove(&mut self, mid: i64, place: Place) {
        let more = self.more.get_mut(&mid);
        if self.one.get(&mid) == Some(&place) {
            match more.and_then(Vec::pop) {
                Some(other) => self.one.insert(mid, other),
                None => self.one.remove(&mid),
            };
        } else if let Some(more) = more {
            more.retain(|other| *other != place);
        }
        if self.more.get(&mid).is_some_and(Vec::is_empty) {
            self.more.remove(&mid);
        }
    }

    pub(super) fn of(&self, mid: i64) -> Vec<Place> {
        let more = self.more.get(&mid).into_iter().flatten();
        self.one
            .get(&mid)
            .into_iter()
            .chain(more)
            .copied()
            .collect()
    }
}

#[cfg(test)]
impl Users {
    /// Bytes of the table of those who have one binding.
    pub(super) fn table_bytes(&self) -> usize {
        let buckets = (self.one.capacity() * 8 / 7).next_power_of_two();
        buckets * (size_of::<(i64, Place)>() + 1)
    }
}
