//! Redis, as the sessions, the registry and the idempotency window use it.
//!
//! A [`Redis`] is one connection (one to each master of a cluster) that all
//! share: commands of many tasks are under way on it at a time. It connects
//! when it is first needed, and again after it broke; while that fails,
//! commands fail at once and the next attempt waits for its pause.

mod config;
mod dial;
mod gather;
mod link;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, ToRedisArgs, Value,
};
use futures_util::future::try_join_all;
use tokio::time::timeout;

pub use config::{Config, ConfigError, Urls};
use dial::Dialer;
pub(crate) use gather::Gather;
use link::Link;
pub use tls::TlsConfig;

/// A shared connection to a Redis or a Redis Cluster.
///
/// A command whose connection broke is sent once more on a new one: it has to
/// be one that may be done twice.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    is_cluster: bool,
    response_timeout: Duration,
    /// Commands answered so far: a command that times out while none is, tells
    /// that the connection is dead.
    answers: AtomicU64,
}

/// Redis could not be asked, or not in time, or refused: the caller may try
/// again. Whether the command was done is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis: {0}")]
pub struct Unavailable(pub(crate) String);

/// A script in Redis' Lua. It is sent by its hash, and whole to a server that
/// does not know it.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Redis {
    /// Reads the configuration; connects on first use.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            shared: Arc::new(Shared {
                dialer: Dialer::new(config)?,
                is_cluster: config.cluster,
                response_timeout: config.response_timeout,
                answers: AtomicU64::new(0),
            }),
        })
    }

    /// Whether the keys are spread over the masters of a cluster, so that a
    /// script may touch those of one slot only.
    pub fn is_cluster(&self) -> bool {
        self.shared.is_cluster
    }

    /// Sends one command.
    pub async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, Unavailable> {
        read(self.send(&Request::One(cmd)).await?)
    }

    /// Sends one command that not every server knows and allows; `None` where it
    /// is neither.
    pub(crate) async fn query_if_allowed<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
    ) -> Result<Option<T>, Unavailable> {
        match self.send(&Request::One(cmd)).await {
            Err(Failure::Refused(error)) if is_forbidden(&error) => Ok(None),
            result => read(result?).map(Some),
        }
    }

    /// Sends commands together and returns their answers in the same order: in
    /// one round trip, or to the masters of a cluster side by side. The
    /// commands do not form a transaction.
    pub async fn query_all<T: FromRedisValue>(&self, cmds: &[Cmd]) -> Result<Vec<T>, Unavailable> {
        if cmds.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_cluster() {
            return try_join_all(cmds.iter().map(|cmd| self.query(cmd))).await;
        }
        let mut pipeline = Pipeline::with_capacity(cmds.len());
        for cmd in cmds {
            pipeline.add_command(cmd.clone());
        }
        read(self.send(&Request::Together(&pipeline)).await?)
    }

    /// Runs a script over `keys`; those of a cluster must be in one slot.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: impl ToRedisArgs,
    ) -> Result<T, Unavailable> {
        let known = call("EVALSHA", &script.hash, keys, &args);
        match self.send(&Request::One(&known)).await {
            Err(Failure::Refused(error)) if is_unknown_script(&error) => {
                let whole = call("EVAL", script.code, keys, &args);
                read(self.send(&Request::One(&whole)).await?)
            }
            result => read(result?),
        }
    }

    async fn send(&self, request: &Request<'_>) -> Result<Value, Failure> {
        match self.send_once(request).await {
            Err(Failure::Broken(_)) => self.send_once(request).await,
            result => result,
        }
    }

    async fn send_once(&self, request: &Request<'_>) -> Result<Value, Failure> {
        let shared = &*self.shared;
        let link = shared.dialer.link().await.map_err(Failure::Away)?;
        let id = link.id();
        let answers_before = shared.answers.load(Ordering::Relaxed);
        let Ok(result) = timeout(shared.response_timeout, request.send(link)).await else {
            if shared.answers.load(Ordering::Relaxed) == answers_before {
                shared.dialer.discard(id);
            }
            let text = format!("no answer within {:?}", shared.response_timeout);
            return Err(Failure::Away(Unavailable(text)));
        };
        match result {
            Err(error) if is_broken(&error) => {
                shared.dialer.discard(id);
                Err(Failure::Broken(error))
            }
            answer => {
                shared.answers.fetch_add(1, Ordering::Relaxed);
                answer.map_err(Failure::Refused)
            }
        }
    }
}

enum Request<'a> {
    One(&'a Cmd),
    Together(&'a Pipeline),
}

impl Request<'_> {
    async fn send(&self, mut link: Link) -> Result<Value, RedisError> {
        match self {
            Self::One(cmd) => cmd.query_async(&mut link).await,
            Self::Together(pipeline) => pipeline.query_async(&mut link).await.map(Value::Array),
        }
    }
}

enum Failure {
    /// The connection is of no use: another one may be.
    Broken(RedisError),
    /// Redis answered with an error.
    Refused(RedisError),
    /// There is no connection, or no answer.
    Away(Unavailable),
}

impl From<Failure> for Unavailable {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Broken(error) | Failure::Refused(error) => Self(error.to_string()),
            Failure::Away(error) => error,
        }
    }
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, Unavailable> {
    T::from_redis_value(answer).map_err(|error| Unavailable(error.to_string()))
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the command is refused as such: states that pass have errors of their
/// own.
fn is_forbidden(error: &RedisError) -> bool {
    let kind = error.kind();
    kind == ErrorKind::Server(ServerErrorKind::NoPerm)
        || kind == ErrorKind::Server(ServerErrorKind::ResponseError)
}

/// Whether a new connection may do better. A server that is read-only was
/// demoted, and its name may mean another one by now.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

impl Script {
    /// A script in Redis' Lua.
    pub fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: ::redis::Script::new(code).get_hash().to_owned(),
        }
    }
}

/// A call of a script by `name`: `EVALSHA` with its hash, `EVAL` with its code.
fn call(name: &str, script: &str, keys: &[String], args: &impl ToRedisArgs) -> Cmd {
    let mut cmd = ::redis::cmd(name);
    cmd.arg(script).arg(keys.len()).arg(keys).arg(args);
    cmd
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("cluster", &self.shared.is_cluster)
            .finish_non_exhaustive()
    }
}
