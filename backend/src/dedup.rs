//! The idempotency window: which requests were answered lately, and how.
//!
//! Whoever repeats a request under the same key gets the first answer again
//! instead of doing it twice.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use memory::MemoryDedup;
pub use redis::RedisDedup;

mod memory;
mod redis;

/// Remembers answers by key.
#[async_trait]
pub trait Dedup: Send + Sync + fmt::Debug {
    /// Claims the key, unless it is claimed or answered already. Who holds the
    /// claim may ask again.
    async fn begin(&self, claim: &Claim) -> Result<Begun, DedupError>;

    /// Turns the claim into the key's answer, unless another took its place
    /// after it ended.
    async fn finish(&self, claim: &Claim, answer: Bytes) -> Result<(), DedupError>;

    /// Gives the claim up: the next one may claim the key.
    async fn abandon(&self, claim: &Claim) -> Result<(), DedupError>;
}

/// One request's claim on its key, told from those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    key: String,
    ticket: u64,
}

impl Claim {
    /// A claim like no other.
    pub fn new(key: String) -> Self {
        Self {
            key,
            ticket: rand::random(),
        }
    }
}

/// What was known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the caller holds the claim now.
    First,
    /// Someone else holds the claim.
    InProgress,
    /// The answer.
    Done(Bytes),
}

/// Why a key's past is not known: the caller may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DedupError {
    /// The store cannot be reached.
    #[error("idempotency window is unavailable: {0}")]
    Unavailable(String),
    /// The store holds as much as it may.
    #[error("idempotency window is full")]
    Full,
}

/// Limits of an idempotency window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// How long an answer is remembered.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long a claim holds whose owner may have died.
    #[serde(with = "humantime_serde")]
    pub claim: Duration,
    /// Keys that are remembered in memory; a store outside has limits of its
    /// own.
    pub keys_max: usize,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(10),
            claim: Duration::from_secs(15),
            keys_max: 100_000,
        }
    }
}
