//! The idempotency window in Redis: for all logics together.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Begun, Claim, Dedup, DedupConfig, DedupError};
use crate::redis::{Redis, Script, Unavailable};

/// What an answer begins with; a claim begins with another byte.
const ANSWER: u8 = b'=';

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/begin.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/finish.lua")));
static ABANDON: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/abandon.lua")));

/// The window of all logics, in Redis.
#[derive(Debug)]
pub struct RedisDedup {
    redis: Redis,
    config: DedupConfig,
}

impl RedisDedup {
    /// A window in `redis`.
    pub fn new(redis: Redis, config: DedupConfig) -> Self {
        Self { redis, config }
    }
}

#[async_trait]
impl Dedup for RedisDedup {
    async fn begin(&self, claim: &Claim) -> Result<Begun, DedupError> {
        let args = (content_of(claim), milliseconds(self.config.claim));
        let known: Option<Vec<u8>> = self.redis.run(&BEGIN, &[key_of(claim)], args).await?;
        Ok(match known {
            None => Begun::First,
            Some(known) if known.first() == Some(&ANSWER) => {
                Begun::Done(Bytes::from(known).slice(1..))
            }
            Some(_) => Begun::InProgress,
        })
    }

    async fn finish(&self, claim: &Claim, answer: Bytes) -> Result<(), DedupError> {
        let stored = [&[ANSWER], &answer[..]].concat();
        let args = (content_of(claim), stored, milliseconds(self.config.window));
        Ok(self.redis.run(&FINISH, &[key_of(claim)], args).await?)
    }

    async fn abandon(&self, claim: &Claim) -> Result<(), DedupError> {
        let args = content_of(claim);
        Ok(self.redis.run(&ABANDON, &[key_of(claim)], args).await?)
    }
}

impl From<Unavailable> for DedupError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn key_of(claim: &Claim) -> String {
    ["halley:done:", &claim.key].concat()
}

fn content_of(claim: &Claim) -> String {
    format!("-{}", claim.ticket)
}

fn milliseconds(duration: Duration) -> u64 {
    // 0 would be refused.
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
