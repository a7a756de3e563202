//! The sessions: which comet holds the connection of a key, which keys a user
//! has, and how many members each room has on every comet.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::redis::{RedisSessions, RedisSessionsConfig};
pub use memory::{MemorySessions, MemorySessionsConfig};

mod memory;
mod redis;

/// Knows where clients are connected.
#[async_trait]
pub trait Sessions: Send + Sync + fmt::Debug {
    /// Binds a key to a connection; a key bound before now means the new one.
    async fn bind(&self, binding: Binding) -> Result<(), SessionsError>;

    /// Keeps a binding from expiring; binds it again if the key is not bound, or
    /// to an earlier connection of the same server. A key that a newer connection
    /// took stays with that one.
    async fn renew(&self, binding: Binding) -> Result<(), SessionsError>;

    /// Removes a key's binding if it still is to this connection of `server`, or
    /// to an earlier one; `connection` is `None` for comets that do not number
    /// theirs, and then the server alone is compared. Returns whether the binding
    /// was removed.
    async fn unbind_if(
        &self,
        mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, SessionsError>;

    /// The server of each key, in the order of `keys`; `None` is offline.
    async fn of_keys(&self, keys: &[String]) -> Result<Vec<Option<Arc<str>>>, SessionsError>;

    /// Key and server of every connection of each user, in the order of `mids`;
    /// a user without any is offline.
    async fn of_mids(&self, mids: &[i64]) -> Result<Vec<Vec<(String, Arc<str>)>>, SessionsError>;

    /// Replaces what is known of the members of each room on `server`.
    async fn set_online(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<(), SessionsError>;

    /// Members of each room on all servers that told theirs lately.
    async fn online(&self) -> Result<HashMap<String, i32>, SessionsError>;

    /// A number that is another one once bindings may have been lost, so that
    /// all have to be renewed; `None` when that cannot be told.
    async fn epoch(&self) -> Result<Option<u64>, SessionsError>;
}

/// A connection and who it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The user; not above 0 is anonymous and cannot be found by user.
    pub mid: i64,
    /// The connection's name.
    pub key: String,
    /// The comet that holds it.
    pub server: String,
    /// The number its comet gave it, larger than those it gave before; 0 from
    /// comets that give none.
    pub connection: u64,
}

/// Why sessions could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionsError {
    /// A configured limit is reached: the login must be refused.
    #[error("sessions hold {0}, the most they may")]
    Full(&'static str),
    /// The store cannot be reached: the caller may try again.
    #[error("sessions are unavailable: {0}")]
    Unavailable(String),
}
