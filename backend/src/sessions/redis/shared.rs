//! Bindings in goim's layout, on one server.
//!
//! | key | holds |
//! | --- | --- |
//! | `key_K` | the server of key K |
//! | `mid_M` | a hash: key → server, of user M |
//! | `conn_K` | ours: server, connection and user of key K |
//!
//! All expire together. A `conn_K` that names another server than `key_K`, or a
//! smaller number than a connection that is renewed or ends, was left behind when
//! a Go logic bound the key, and says nothing.

use std::sync::{Arc, LazyLock};

use redis::cmd;

use super::{Binding, Named, Owner};
use crate::redis::{Gather, Redis, Script, Unavailable};

/// Keys or users that are looked up in one round trip.
const LOOKUPS_MAX: usize = 512;

static BIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/bind.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/renew.lua")));
static UNBIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/unbind.lua")));

pub(super) struct Bindings {
    redis: Redis,
    expire_secs: u64,
    servers: Gather<String, Option<Arc<str>>>,
    owners: Gather<String, Option<Owner>>,
    named: Gather<i64, Vec<Named>>,
}

impl Bindings {
    pub(super) fn new(redis: Redis, expire_secs: u64) -> Self {
        let lookups = || Lookups(redis.clone());
        let (servers, owners, named) = (lookups(), lookups(), lookups());
        Self {
            servers: Gather::start(LOOKUPS_MAX, move |keys| servers.clone().servers(keys)),
            owners: Gather::start(LOOKUPS_MAX, move |keys| owners.clone().owners(keys)),
            named: Gather::start(LOOKUPS_MAX, move |mids| named.clone().named(mids)),
            redis,
            expire_secs,
        }
    }

    pub(super) async fn bind(&self, binding: &Binding) -> Result<(), Unavailable> {
        self.write(&BIND, binding).await
    }

    pub(super) async fn renew(&self, binding: &Binding) -> Result<(), Unavailable> {
        self.write(&RENEW, binding).await
    }

    async fn write(&self, script: &Script, binding: &Binding) -> Result<(), Unavailable> {
        let Binding {
            mid,
            key,
            server,
            connection,
        } = binding;
        let companion = format!("{server} {connection} {mid}");
        let args = (server, companion, self.expire_secs, key, connection);
        self.redis.run(script, &keys_of(*mid, key), args).await
    }

    pub(super) async fn unbind_if(
        &self,
        mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, Unavailable> {
        let connection = connection.map_or(String::new(), |number| number.to_string());
        let args = (server, connection, key);
        self.redis.run(&UNBIND, &keys_of(mid, key), args).await
    }

    /// The server of each key.
    pub(super) async fn servers(
        &self,
        keys: &[String],
    ) -> Result<Vec<Option<Arc<str>>>, Unavailable> {
        self.servers.ask(keys.to_vec()).await
    }

    /// What is known of each key.
    pub(super) async fn owners(&self, keys: &[&str]) -> Result<Vec<Option<Owner>>, Unavailable> {
        let keys = keys.iter().map(|key| (*key).to_owned());
        self.owners.ask(keys.collect()).await
    }

    /// The keys that each user's hash names.
    pub(super) async fn named(&self, mids: &[i64]) -> Result<Vec<Vec<Named>>, Unavailable> {
        self.named.ask(mids.to_vec()).await
    }
}

/// What is asked for many callers at once.
#[derive(Clone)]
struct Lookups(Redis);

impl Lookups {
    async fn servers(self, keys: Vec<String>) -> Result<Vec<Option<Arc<str>>>, Unavailable> {
        let mut mget = cmd("MGET");
        for key in &keys {
            mget.arg(key_of(key));
        }
        let servers: Vec<Option<String>> = self.0.query(&mget).await?;
        Ok(servers.into_iter().map(|s| s.map(Arc::from)).collect())
    }

    async fn owners(self, keys: Vec<String>) -> Result<Vec<Option<Owner>>, Unavailable> {
        let mut mget = cmd("MGET");
        for key in &keys {
            mget.arg(key_of(key)).arg(companion_of(key));
        }
        let values: Vec<Option<String>> = self.0.query(&mget).await?;
        let pairs = values.chunks_exact(2).map(|pair| {
            let server = pair[0].as_deref()?;
            Some(Owner {
                server: Arc::from(server),
                mid: pair[1].as_deref().and_then(|text| mid_in(text, server)),
            })
        });
        Ok(pairs.collect())
    }

    async fn named(self, mids: Vec<i64>) -> Result<Vec<Vec<Named>>, Unavailable> {
        let gets: Vec<_> = mids
            .iter()
            .map(|mid| cmd("HGETALL").arg(user_of(*mid)).to_owned())
            .collect();
        let hashes: Vec<Vec<(String, String)>> = self.0.query_all(&gets).await?;
        let named = hashes.into_iter().map(|hash| {
            let named = hash.into_iter().map(|(key, server)| Named {
                key,
                server: Some(server),
            });
            named.collect()
        });
        Ok(named.collect())
    }
}

fn keys_of(mid: i64, key: &str) -> Vec<String> {
    let mut keys = vec![key_of(key), companion_of(key)];
    if mid > 0 {
        keys.push(user_of(mid));
    }
    keys
}

fn key_of(key: &str) -> String {
    ["key_", key].concat()
}

fn companion_of(key: &str) -> String {
    ["conn_", key].concat()
}

fn user_of(mid: i64) -> String {
    format!("mid_{mid}")
}

/// The user in a companion, if it is about `server`.
fn mid_in(companion: &str, server: &str) -> Option<i64> {
    let (rest, mid) = companion.rsplit_once(' ')?;
    let (of, _) = rest.rsplit_once(' ')?;
    (of == server).then(|| mid.parse().ok())?
}
