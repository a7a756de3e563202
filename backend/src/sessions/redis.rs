//! The sessions of all processes, in Redis.
//!
//! A key's binding is the truth. What is kept of a user is an index of keys
//! that may hold too much, never too little: what it names counts only as far
//! as the bindings agree. An index lives as long as one of its keys is renewed,
//! so keys that ended without a word stay in it until then.
//!
//! One server is laid out as goim lays it out ([`shared`]), so that Go and Rust
//! logics can use it together. A cluster has a layout of its own
//! ([`clustered`]), in which every script touches one key.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Binding, Sessions, SessionsError};
use crate::redis::{Redis, Unavailable};
use crate::registry::Snapshot;
use epoch::Epoch;
use online::Online;

mod clustered;
mod epoch;
mod online;
mod shared;

/// Limits of [`RedisSessions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSessionsConfig {
    /// Time without renewal after which a binding is gone, in whole seconds.
    /// Comets renew at least every 34 minutes: goim's wait up to 30 and a
    /// heartbeat of 4.
    #[serde(with = "humantime_serde")]
    pub expire: Duration,
    /// Time without news from a server after which its rooms do not count.
    #[serde(with = "humantime_serde")]
    pub online_expire: Duration,
}

impl Default for RedisSessionsConfig {
    fn default() -> Self {
        Self {
            expire: Duration::from_hours(1),
            online_expire: Duration::from_mins(5),
        }
    }
}

/// Sessions in Redis.
pub struct RedisSessions {
    layout: Layout,
    online: Online,
    epoch: Epoch,
    known_comets: Option<watch::Receiver<Snapshot>>,
}

enum Layout {
    Shared(shared::Bindings),
    Clustered(clustered::Bindings),
}

/// What a binding says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    server: Arc<str>,
    /// The user; unknown of what a Go logic bound.
    mid: Option<i64>,
}

/// A key that a user's index names, and the server it had when that was
/// written, if the index says.
struct Named {
    key: String,
    server: Option<String>,
}

impl RedisSessions {
    /// Sessions in `redis`. The online counts of `known_comets` are read even
    /// if no Rust logic wrote any.
    pub fn new(
        redis: Redis,
        config: &RedisSessionsConfig,
        known_comets: Option<watch::Receiver<Snapshot>>,
    ) -> Self {
        // 0 would delete instead of expire.
        let expire_secs = config.expire.as_secs().max(1);
        let layout = if redis.is_cluster() {
            Layout::Clustered(clustered::Bindings::new(redis.clone(), expire_secs))
        } else {
            Layout::Shared(shared::Bindings::new(redis.clone(), expire_secs))
        };
        Self {
            layout,
            online: Online::new(redis.clone(), expire_secs, config.online_expire),
            epoch: Epoch::new(redis),
            known_comets,
        }
    }

    async fn owners(&self, keys: &[&str]) -> Result<Vec<Option<Owner>>, Unavailable> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        match &self.layout {
            Layout::Shared(bindings) => bindings.owners(keys).await,
            Layout::Clustered(bindings) => bindings.owners(keys).await,
        }
    }

    fn known_servers(&self) -> BTreeSet<String> {
        let Some(known) = &self.known_comets else {
            return BTreeSet::new();
        };
        let known = known.borrow();
        let nodes = known.iter().flat_map(|nodes| nodes.iter());
        nodes.map(|node| node.hostname.clone()).collect()
    }
}

impl Named {
    /// Whether the key is the user's, as its binding says.
    fn is_of(&self, mid: i64, owner: &Owner) -> bool {
        match owner.mid {
            Some(owner) => owner == mid,
            // Two Go logics may have bound it for two users: the servers tell.
            None => self.server.as_deref() == Some(&*owner.server),
        }
    }
}

#[async_trait]
impl Sessions for RedisSessions {
    async fn bind(&self, binding: Binding) -> Result<(), SessionsError> {
        match &self.layout {
            Layout::Shared(bindings) => bindings.bind(&binding).await?,
            Layout::Clustered(bindings) => bindings.bind(&binding).await?,
        }
        Ok(())
    }

    async fn renew(&self, binding: Binding) -> Result<(), SessionsError> {
        match &self.layout {
            Layout::Shared(bindings) => bindings.renew(&binding).await?,
            Layout::Clustered(bindings) => bindings.renew(&binding).await?,
        }
        Ok(())
    }

    async fn unbind_if(
        &self,
        mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, SessionsError> {
        let removed = match &self.layout {
            Layout::Shared(bindings) => bindings.unbind_if(mid, key, server, connection).await?,
            Layout::Clustered(bindings) => bindings.unbind_if(key, server, connection).await?,
        };
        Ok(removed)
    }

    async fn of_keys(&self, keys: &[String]) -> Result<Vec<Option<Arc<str>>>, SessionsError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let servers = match &self.layout {
            Layout::Shared(bindings) => bindings.servers(keys).await?,
            Layout::Clustered(bindings) => bindings.servers(keys).await?,
        };
        Ok(servers)
    }

    async fn of_mids(&self, mids: &[i64]) -> Result<Vec<Vec<(String, Arc<str>)>>, SessionsError> {
        let asked: Vec<i64> = mids.iter().copied().filter(|&mid| mid > 0).collect();
        let named = match &self.layout {
            Layout::Shared(bindings) => bindings.named(&asked).await?,
            Layout::Clustered(bindings) => bindings.named(&asked).await?,
        };
        let keys: Vec<&str> = named.iter().flatten().map(|named| &*named.key).collect();
        let mut owners = self.owners(&keys).await?.into_iter();
        let mut named = named.into_iter();
        let found = mids.iter().map(|&mid| {
            let named = if mid > 0 { named.next() } else { None };
            let named = named.into_iter().flatten();
            let bound = named.zip(owners.by_ref()).filter_map(|(named, owner)| {
                let owner = owner.filter(|owner| named.is_of(mid, owner))?;
                Some((named.key, owner.server))
            });
            bound.collect()
        });
        Ok(found.collect())
    }

    async fn set_online(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<(), SessionsError> {
        Ok(self.online.set(server, &rooms).await?)
    }

    async fn online(&self) -> Result<HashMap<String, i32>, SessionsError> {
        Ok(self.online.totals(self.known_servers()).await?)
    }

    async fn epoch(&self) -> Result<Option<u64>, SessionsError> {
        Ok(Some(self.epoch.get().await?))
    }
}

impl From<Unavailable> for SessionsError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSessions").finish_non_exhaustive()
    }
}
