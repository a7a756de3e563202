//! Bindings in a cluster.
//!
//! | key | holds |
//! | --- | --- |
//! | `halley:key:K` | server, connection and user of key K |
//! | `halley:mid:M` | a hash: key → server and connection, of user M |
//!
//! The two cannot be changed together. The index is written by who wrote the
//! binding, before that is answered, and an entry of it is removed only by who
//! removed the very binding that it was written for: so it names every key that
//! is bound. If a logic ends between the two, the login was not answered: its
//! comet asks again, or there is no such connection. A renewal writes both.

use std::sync::{Arc, LazyLock};

use redis::cmd;

use super::{Binding, Named, Owner};
use crate::redis::{Redis, Script, Unavailable};

static BIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("clustered/bind.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("clustered/renew.lua")));
static UNBIND: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("clustered/unbind.lua")));
static INDEX: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("clustered/index.lua")));
static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("clustered/forget.lua")));

pub(super) struct Bindings {
    redis: Redis,
    expire_secs: u64,
}

/// The content of a key: server, connection and user.
struct Bound<'a> {
    server: &'a str,
    connection: &'a str,
    mid: i64,
}

impl Bindings {
    pub(super) fn new(redis: Redis, expire_secs: u64) -> Self {
        Self { redis, expire_secs }
    }

    pub(super) async fn bind(&self, binding: &Binding) -> Result<(), Unavailable> {
        self.write(&BIND, binding).await
    }

    pub(super) async fn renew(&self, binding: &Binding) -> Result<(), Unavailable> {
        self.write(&RENEW, binding).await
    }

    /// Writes the binding and, if it is the caller's now, the index: an entry of a
    /// login that came too late would take the place of the later one's.
    async fn write(&self, script: &Script, binding: &Binding) -> Result<(), Unavailable> {
        let keys = [key_of(&binding.key)];
        let args = (
            content_of(binding),
            self.expire_secs,
            &binding.server,
            binding.connection,
        );
        let is_ours: bool = self.redis.run(script, &keys, args).await?;
        if is_ours {
            self.index(binding).await?;
        }
        Ok(())
    }

    pub(super) async fn unbind_if(
        &self,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, Unavailable> {
        let connection = connection.map_or(String::new(), |number| number.to_string());
        let args = (server, connection);
        let removed: Option<String> = self.redis.run(&UNBIND, &[key_of(key)], args).await?;
        let Some(removed) = removed.as_deref().and_then(Bound::parse) else {
            return Ok(false);
        };
        if removed.mid > 0 {
            let entry = entry_of(removed.server, removed.connection);
            self.forget(removed.mid, key, entry).await?;
        }
        Ok(true)
    }

    /// The server of each key.
    pub(super) async fn servers(
        &self,
        keys: &[String],
    ) -> Result<Vec<Option<Arc<str>>>, Unavailable> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let owners = self.owners(&keys).await?.into_iter();
        Ok(owners.map(|owner| owner.map(|o| o.server)).collect())
    }

    /// What is known of each key.
    pub(super) async fn owners(&self, keys: &[&str]) -> Result<Vec<Option<Owner>>, Unavailable> {
        let gets: Vec<_> = keys
            .iter()
            .map(|key| cmd("GET").arg(key_of(key)).to_owned())
            .collect();
        let contents: Vec<Option<String>> = self.redis.query_all(&gets).await?;
        let owners = contents.iter().map(|content| {
            let bound = content.as_deref().and_then(Bound::parse)?;
            Some(Owner {
                server: Arc::from(bound.server),
                mid: Some(bound.mid),
            })
        });
        Ok(owners.collect())
    }

    /// The keys that each user's index names.
    pub(super) async fn named(&self, mids: &[i64]) -> Result<Vec<Vec<Named>>, Unavailable> {
        let gets: Vec<_> = mids
            .iter()
            .map(|mid| cmd("HKEYS").arg(user_of(*mid)).to_owned())
            .collect();
        let indexes: Vec<Vec<String>> = self.redis.query_all(&gets).await?;
        let named = indexes.into_iter().map(|keys| {
            let named = keys.into_iter().map(|key| Named { key, server: None });
            named.collect()
        });
        Ok(named.collect())
    }

    async fn index(&self, binding: &Binding) -> Result<(), Unavailable> {
        if binding.mid <= 0 {
            return Ok(());
        }
        let entry = entry_of(&binding.server, &binding.connection.to_string());
        let args = (&binding.key, entry, self.expire_secs);
        self.redis.run(&INDEX, &[user_of(binding.mid)], args).await
    }

    async fn forget(&self, mid: i64, key: &str, entry: String) -> Result<(), Unavailable> {
        self.redis.run(&FORGET, &[user_of(mid)], (key, entry)).await
    }
}

impl<'a> Bound<'a> {
    fn parse(content: &'a str) -> Option<Self> {
        let (rest, mid) = content.rsplit_once(' ')?;
        let (server, connection) = rest.rsplit_once(' ')?;
        Some(Self {
            server,
            connection,
            mid: mid.parse().ok()?,
        })
    }
}

fn content_of(binding: &Binding) -> String {
    let Binding {
        mid,
        key: _,
        server,
        connection,
    } = binding;
    format!("{server} {connection} {mid}")
}

fn entry_of(server: &str, connection: &str) -> String {
    [server, " ", connection].concat()
}

fn key_of(key: &str) -> String {
    ["halley:key:", key].concat()
}

fn user_of(mid: i64) -> String {
    format!("halley:mid:{mid}")
}
