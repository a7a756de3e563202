//! Rooms by name.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use parking_lot::RwLock;

use super::Room;
use crate::connection::{Connection, Outgoing};

type Shard = RwLock<HashMap<Arc<str>, Arc<Room>, RandomState>>;

/// The rooms with members on this node, in shards by name.
#[derive(Debug)]
pub struct Rooms {
    shards: Box<[Shard]>,
    hasher: RandomState,
}

impl Rooms {
    /// An empty table of `shards` shards.
    pub fn new(shards: usize) -> Self {
        let hasher = RandomState::default();
        let shard = |_| RwLock::new(HashMap::with_hasher(hasher.clone()));
        Self {
            shards: (0..shards.max(1)).map(shard).collect(),
            hasher,
        }
    }

    /// The room of that name, if it has members here.
    pub fn get(&self, name: &str) -> Option<Arc<Room>> {
        self.shard(name).read().get(name).cloned()
    }

    /// Makes the connection a member and returns the room; `elsewhere` tells a
    /// new room's members on other nodes.
    pub fn join(
        &self,
        name: &str,
        connection: &Arc<Connection>,
        outgoing: &mut Outgoing,
        elsewhere: impl Fn() -> usize,
    ) -> Arc<Room> {
        loop {
            let room = self.get_or_create(name, &elsewhere);
            if outgoing.join(Arc::clone(&room), connection) {
                return room;
            }
            // Its last member left between the lookup and the join.
            self.forget(&room);
        }
    }

    /// Takes out a room that has ended.
    pub fn forget(&self, room: &Arc<Room>) {
        let mut shard = self.shard(room.name()).write();
        if shard
            .get(room.name())
            .is_some_and(|current| Arc::ptr_eq(current, room))
        {
            shard.remove(room.name());
            if shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }

    /// Every room, one shard at a time.
    pub fn all(&self) -> impl Iterator<Item = Arc<Room>> {
        self.shards.iter().flat_map(|shard| {
            let rooms: Vec<_> = shard.read().values().cloned().collect();
            rooms
        })
    }

    fn get_or_create(&self, name: &str, elsewhere: &impl Fn() -> usize) -> Arc<Room> {
        if let Some(room) = self.get(name) {
            return room;
        }
        let mut shard = self.shard(name).write();
        if let Some(room) = shard.get(name) {
            return Arc::clone(room);
        }
        let name: Arc<str> = name.into();
        let room = Arc::new(Room::new(Arc::clone(&name), elsewhere()));
        shard.insert(name, Arc::clone(&room));
        room
    }

    fn shard(&self, name: &str) -> &Shard {
        let hash = self.hasher.hash_one(name);
        // The low bits choose the place inside a shard.
        let index = (hash >> 32) as usize % self.shards.len();
        &self.shards[index]
    }
}
