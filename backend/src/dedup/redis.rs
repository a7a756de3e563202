//! The idempotency window in Redis: for all logics together.

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;

use super::{Begun, Dedup, DedupConfig, DedupError};
use crate::redis::{Redis, Script, Unavailable};

/// What a claim holds; an answer begins with [`ANSWER`].
const CLAIM: &str = "-";
const ANSWER: u8 = b'=';

/// Returns what the key holds, or claims it and returns nothing.
const BEGIN: &str = r"
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
";

/// See the [module](self).
#[derive(Debug)]
pub struct RedisDedup {
    redis: Redis,
    config: DedupConfig,
    begin: Script,
}

impl RedisDedup {
    /// A window in `redis`.
    pub fn new(redis: Redis, config: DedupConfig) -> Self {
        Self {
            redis,
            config,
            begin: Script::new(BEGIN),
        }
    }
}

#[async_trait]
impl Dedup for RedisDedup {
    async fn begin(&self, key: &str) -> Result<Begun, DedupError> {
        let args = (CLAIM, milliseconds(self.config.claim));
        let known: Option<Vec<u8>> = self.redis.run(&self.begin, &[stored(key)], args).await?;
        Ok(match known {
            None => Begun::First,
            Some(mut known) if known.first() == Some(&ANSWER) => {
                known.remove(0);
                Begun::Done(known.into())
            }
            Some(_) => Begun::InProgress,
        })
    }

    async fn finish(&self, key: &str, answer: Bytes) -> Result<(), DedupError> {
        let value = [&[ANSWER], &answer[..]].concat();
        let mut set = cmd("SET");
        set.arg(stored(key)).arg(value);
        set.arg("PX").arg(milliseconds(self.config.window));
        Ok(self.redis.query(&set).await?)
    }

    async fn abandon(&self, key: &str) -> Result<(), DedupError> {
        let mut del = cmd("DEL");
        del.arg(stored(key));
        Ok(self.redis.query(&del).await?)
    }
}

impl From<Unavailable> for DedupError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn stored(key: &str) -> String {
    format!("halley:done:{key}")
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
