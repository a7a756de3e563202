//! Reading and writing the entries of a role.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use halley_proto::halley::node::NodeStatus;
use tokio::time::Instant;

use super::record::{Node, Record};
use crate::redis::{Redis, Script, Unavailable};
use crate::registry::keep::{self, Put};
use crate::registry::poll::Source;
use crate::registry::roster::{Answer, Missing};

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("leave.lua")));
static LIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("list.lua")));

const NO_ARGS: &[&str] = &[];

/// One node's entry.
#[derive(Debug)]
pub(super) struct Entry {
    redis: Redis,
    key: String,
    ttl: Duration,
    /// Entries whose leases are over go once with each node that comes, so that
    /// those of names that never come back do not add up.
    has_swept: bool,
}

impl Entry {
    pub(super) fn new(redis: Redis, key: String, ttl: Duration) -> Self {
        Self {
            redis,
            key,
            ttl,
            has_swept: false,
        }
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)
    }
}

impl keep::Entry for Entry {
    type Error = Unavailable;

    async fn put(&mut self, status: &NodeStatus) -> Result<Put, Unavailable> {
        let args = (
            &status.hostname,
            self.ttl_ms(),
            status.started_ms,
            &status.grpc,
            Node::from(status).to_json(),
            u8::from(!self.has_swept),
        );
        let keys = std::slice::from_ref(&self.key);
        let newer: Option<String> = self.redis.run(&PUT, keys, args).await?;
        self.has_swept = true;
        Ok(newer.map_or(Put::Taken, Put::Superseded))
    }

    async fn remove(&mut self, status: &NodeStatus) -> Result<(), Unavailable> {
        let args = (
            &status.hostname,
            self.ttl_ms(),
            status.started_ms,
            &status.grpc,
        );
        let keys = std::slice::from_ref(&self.key);
        self.redis.run(&LEAVE, keys, args).await
    }
}

/// The entries of a role.
#[derive(Debug)]
pub(super) struct Entries {
    redis: Redis,
    key: String,
}

impl Entries {
    pub(super) fn new(redis: Redis, key: String) -> Self {
        Self { redis, key }
    }
}

impl Source for Entries {
    type Error = Unavailable;

    async fn ask(&mut self, _: Option<Instant>) -> Result<Option<Answer>, Unavailable> {
        let keys = std::slice::from_ref(&self.key);
        let (now_ms, entries): (u64, HashMap<String, Vec<u8>>) =
            self.redis.run(&LIST, keys, NO_ARGS).await?;
        let mut answer = Answer {
            alive: Vec::with_capacity(entries.len()),
            left: Vec::new(),
            missing: Missing::Stay,
        };
        for (hostname, value) in entries {
            let record: Record = match serde_json::from_slice(&value) {
                Ok(record) => record,
                Err(error) => {
                    tracing::debug!(key = %self.key, node = %hostname, %error, "entry is not one of ours");
                    continue;
                }
            };
            let left_ms = record.expires_ms.saturating_sub(now_ms);
            match record.node {
                None => answer.left.push(hostname),
                Some(node) if left_ms > 0 => {
                    let lease = Duration::from_millis(left_ms);
                    answer.alive.push((node.into_status(hostname), Some(lease)));
                }
                Some(_) => {}
            }
        }
        Ok(Some(answer))
    }
}
