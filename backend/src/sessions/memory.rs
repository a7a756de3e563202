//! The sessions of one process, in its memory.
//!
//! A binding costs about 100 bytes with a key of 36: keys and users are found
//! through tables of 32-bit slots, and server names are stored once.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::quality::RandomState;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Binding, Sessions, SessionsError};
use chunk::Entry;
use online::Online;
use servers::{ServerId, Servers};
use shard::{Removed, Shard};
use users::Users;

mod chunk;
mod online;
mod servers;
mod shard;
mod users;

/// Locks that the bindings are spread over. A reference to a binding has
/// [`SHARD_BITS`] for the shard and the rest for the slot.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 6;

/// Limits of [`MemorySessions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySessionsConfig {
    /// Bindings.
    pub bindings_max: usize,
    /// Servers ever seen.
    pub servers_max: usize,
    /// Time without renewal after which a binding is gone. Comets renew at
    /// least every 34 minutes: goim's wait up to 30 and a heartbeat of 4.
    #[serde(with = "humantime_serde")]
    pub expire: Duration,
    /// Time without news from a server after which its rooms do not count.
    #[serde(with = "humantime_serde")]
    pub online_expire: Duration,
}

impl Default for MemorySessionsConfig {
    fn default() -> Self {
        Self {
            bindings_max: 16_000_000,
            servers_max: 65_536,
            expire: Duration::from_hours(1),
            online_expire: Duration::from_mins(5),
        }
    }
}

/// Sessions in this process's memory.
pub struct MemorySessions {
    config: MemorySessionsConfig,
    /// Another one in every process: its comets may live longer than it does.
    epoch: u64,
    started: Instant,
    hasher: RandomState,
    bindings: AtomicUsize,
    shards: Box<[Mutex<Shard>]>,
    users: Box<[Mutex<Users>]>,
    servers: RwLock<Servers>,
    online: Mutex<Online>,
    sweep: Mutex<usize>,
}

/// Where a binding is: its shard in the low bits, its slot in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

impl Place {
    /// Slots of one shard.
    const SLOTS_MAX: u32 = u32::MAX >> SHARD_BITS;

    fn new(shard: usize, slot: u32) -> Self {
        let shard = u32::try_from(shard).expect("invariant: shards fit their bits");
        Self(slot << SHARD_BITS | shard)
    }

    fn shard(self) -> usize {
        self.0 as usize % SHARDS
    }

    fn slot(self) -> u32 {
        self.0 >> SHARD_BITS
    }
}

impl MemorySessions {
    /// No sessions.
    pub fn new(config: MemorySessionsConfig) -> Self {
        Self {
            config,
            epoch: rand::random(),
            started: Instant::now(),
            hasher: RandomState::default(),
            bindings: AtomicUsize::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            users: (0..SHARDS).map(|_| Mutex::default()).collect(),
            servers: RwLock::default(),
            online: Mutex::default(),
            sweep: Mutex::default(),
        }
    }

    /// Bindings held, with those expired and not yet swept.
    pub fn bindings(&self) -> usize {
        self.bindings.load(Ordering::Relaxed)
    }

    fn put(&self, binding: &Binding, mode: Mode) -> Result<(), SessionsError> {
        let server = self.server_id(&binding.server)?;
        let (index, hash) = self.locate(&binding.key);
        let now = self.now_secs();
        let mut shard = self.shards[index].lock();
        if let Some((slot, entry)) = shard.find(hash, &binding.key) {
            let is_alive = !self.is_expired(entry.renewed_secs, now);
            let is_elsewhere = entry.server != server;
            // A key that another server took is not ours to prolong.
            if mode == Mode::Renew && is_alive && is_elsewhere {
                return Ok(());
            }
            // What an earlier login asked for may come later; 0 is of a peer that
            // does not number connections.
            let is_numbered = binding.connection > 0;
            let is_later = !is_elsewhere && entry.connection > binding.connection;
            if is_alive && is_numbered && is_later {
                return Ok(());
            }
            let mid_before = std::mem::replace(&mut entry.mid, binding.mid);
            entry.server = server;
            entry.connection = binding.connection;
            entry.renewed_secs = now;
            if mid_before != binding.mid {
                let place = Place::new(index, slot);
                self.forget_user(mid_before, place);
                self.remember_user(binding.mid, place);
            }
            return Ok(());
        }
        self.count_one_more()?;
        let mid = binding.mid;
        let slot = shard.insert(
            hash,
            &binding.key,
            Entry {
                connection: binding.connection,
                mid,
                server,
                renewed_secs: now,
            },
            |key| self.locate(key).1,
        );
        self.remember_user(mid, Place::new(index, slot));
        Ok(())
    }

    fn count_one_more(&self) -> Result<(), SessionsError> {
        let max = self.config.bindings_max.min(Place::SLOTS_MAX as usize);
        self.bindings
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then_some(count + 1)
            })
            .map(drop)
            .map_err(|_| SessionsError::Full("as many bindings as they may"))
    }

    /// The keys bound to a user.
    fn bound_to(&self, mid: i64) -> Vec<(String, ServerId)> {
        if mid <= 0 {
            return Vec::new();
        }
        let now = self.now_secs();
        let (users, hash) = self.users_of(mid);
        let places = users.lock().of(hash, mid);
        let bound = places.into_iter().filter_map(|place| {
            // A slot that changed hands since is told by its user.
            let mut shard = self.shards[place.shard()].lock();
            let entry = shard.at(place.slot())?;
            let is_its = entry.mid == mid && !self.is_expired(entry.renewed_secs, now);
            let server = entry.server;
            is_its.then(|| Some((shard.key(place.slot())?.to_owned(), server)))?
        });
        bound.collect()
    }

    /// Removes expired bindings of the next shard in turn.
    fn sweep_one(&self) {
        let index = {
            let mut sweep = self.sweep.lock();
            *sweep = (*sweep + 1) % SHARDS;
            *sweep
        };
        let now = self.now_secs();
        let mut shard = self.shards[index].lock();
        let gone = shard.remove_if(
            |entry| self.is_expired(entry.renewed_secs, now),
            |key| self.locate(key).1,
        );
        self.bindings.fetch_sub(gone.len(), Ordering::Relaxed);
        for Removed { slot, mid } in gone {
            self.forget_user(mid, Place::new(index, slot));
        }
    }

    /// Called with the lock of the place's shard held: users are locked after
    /// shards, never before.
    fn remember_user(&self, mid: i64, place: Place) {
        if mid > 0 {
            let (users, hash) = self.users_of(mid);
            users.lock().add(hash, mid, place);
        }
    }

    fn forget_user(&self, mid: i64, place: Place) {
        if mid > 0 {
            let (users, hash) = self.users_of(mid);
            users.lock().remove(hash, mid, place);
        }
    }

    /// The users among whom `mid` is, and its hash among them.
    fn users_of(&self, mid: i64) -> (&Mutex<Users>, u32) {
        let hash = self.hasher.hash_one(mid);
        let low = u32::try_from(hash & u64::from(u32::MAX)).expect("invariant: masked");
        (&self.users[index_of(hash)], low)
    }

    /// A key's shard and its hash within it, without the bits that are the same
    /// for all keys there.
    fn locate(&self, key: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        (index_of(hash), hash << SHARD_BITS)
    }

    fn server_id(&self, name: &str) -> Result<ServerId, SessionsError> {
        if let Some(id) = self.servers.read().find(name) {
            return Ok(id);
        }
        let mut servers = self.servers.write();
        servers
            .add(name, self.config.servers_max)
            .ok_or(SessionsError::Full("as many servers as they may"))
    }

    fn now_secs(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn is_expired(&self, renewed_secs: u32, now_secs: u32) -> bool {
        u64::from(now_secs.saturating_sub(renewed_secs)) >= self.config.expire.as_secs()
    }
}

/// The shard of a hash, by its high bits, since the low ones tell keys apart.
///
/// Tables double when they are full. For that not to happen to all at the same
/// count, the last shard is twice as likely as the first, and those between them
/// lie between: near the base-2 logarithm of the place from 1 to 2.
fn index_of(hash: u64) -> usize {
    const ONE: u64 = 1 << 16;
    // A parabola through both ends is within a hundredth of the logarithm.
    const BEND: u64 = 22_486;
    let place = hash >> (u64::BITS - 16);
    let bent = place + ((place * (ONE - place) * BEND) >> 32);
    usize::try_from(bent >> (16 - SHARD_BITS)).expect("invariant: six bits")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bind,
    Renew,
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn bind(&self, binding: Binding) -> Result<(), SessionsError> {
        self.put(&binding, Mode::Bind)
    }

    async fn renew(&self, binding: Binding) -> Result<(), SessionsError> {
        self.put(&binding, Mode::Renew)
    }

    async fn unbind_if(
        &self,
        _mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, SessionsError> {
        let Some(server) = self.servers.read().find(server) else {
            return Ok(false);
        };
        let (index, hash) = self.locate(key);
        let now = self.now_secs();
        let mut shard = self.shards[index].lock();
        let Some((slot, entry)) = shard.find(hash, key) else {
            return Ok(false);
        };
        let is_later = connection.is_some_and(|number| entry.connection > number);
        if entry.server != server || is_later {
            return Ok(false);
        }
        let was_alive = !self.is_expired(entry.renewed_secs, now);
        let mid = entry.mid;
        shard.remove(hash, slot);
        self.bindings.fetch_sub(1, Ordering::Relaxed);
        self.forget_user(mid, Place::new(index, slot));
        Ok(was_alive)
    }

    async fn of_keys(&self, keys: &[String]) -> Result<Vec<Option<Arc<str>>>, SessionsError> {
        let now = self.now_secs();
        let servers = keys.iter().map(|key| {
            let (index, hash) = self.locate(key);
            let mut shard = self.shards[index].lock();
            let (_, entry) = shard.find(hash, key)?;
            let is_alive = !self.is_expired(entry.renewed_secs, now);
            is_alive.then_some(entry.server)
        });
        // One lock at a time: the names are looked up when the shards are left.
        let servers: Vec<Option<ServerId>> = servers.collect();
        let names = self.servers.read();
        Ok(servers
            .into_iter()
            .map(|server| server.map(|id| names.name(id)))
            .collect())
    }

    async fn of_mids(&self, mids: &[i64]) -> Result<Vec<Vec<(String, Arc<str>)>>, SessionsError> {
        let found = mids.iter().map(|&mid| self.bound_to(mid));
        // One lock at a time: the names are looked up when the shards are left.
        let found: Vec<Vec<(String, ServerId)>> = found.collect();
        let names = self.servers.read();
        let resolve = |(key, server)| (key, names.name(server));
        Ok(found
            .into_iter()
            .map(|bound| bound.into_iter().map(resolve).collect())
            .collect())
    }

    async fn set_online(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<(), SessionsError> {
        let is_set = {
            let mut online = self.online.lock();
            let now = Instant::now();
            online.forget_older(now, self.config.online_expire);
            online.set(server, rooms, now, self.config.servers_max)
        };
        self.sweep_one();
        if is_set {
            Ok(())
        } else {
            Err(SessionsError::Full("as many servers as they may"))
        }
    }

    async fn online(&self) -> Result<HashMap<String, i32>, SessionsError> {
        let mut online = self.online.lock();
        online.forget_older(Instant::now(), self.config.online_expire);
        Ok(online.totals())
    }

    async fn epoch(&self) -> Result<Option<u64>, SessionsError> {
        Ok(Some(self.epoch))
    }
}

impl std::fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySessions")
            .field("bindings", &self.bindings())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
