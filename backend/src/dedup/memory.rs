//! The idempotency window in this process' memory: for one logic.

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Begun, Dedup, DedupConfig, DedupError};

/// See the [module](self).
#[derive(Debug)]
pub struct MemoryDedup {
    config: DedupConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: HashMap<String, Known, RandomState>,
    /// When to look whether a key is forgotten, in the order of time for
    /// claims, and for answers.
    claims: VecDeque<(Instant, String)>,
    answers: VecDeque<(Instant, String)>,
}

#[derive(Debug)]
struct Known {
    until: Instant,
    /// `None` is a claim.
    answer: Option<Bytes>,
}

impl MemoryDedup {
    /// An empty window.
    pub fn new(config: DedupConfig) -> Self {
        Self {
            config,
            state: Mutex::default(),
        }
    }
}

#[async_trait]
impl Dedup for MemoryDedup {
    async fn begin(&self, key: &str) -> Result<Begun, DedupError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.forget(now);
        if let Some(known) = state.keys.get(key) {
            return Ok(match &known.answer {
                None => Begun::InProgress,
                Some(answer) => Begun::Done(answer.clone()),
            });
        }
        if state.keys.len() >= self.config.keys_max {
            return Err(DedupError::Full);
        }
        let until = now + self.config.claim;
        state.keys.insert(
            key.to_owned(),
            Known {
                until,
                answer: None,
            },
        );
        state.claims.push_back((until, key.to_owned()));
        Ok(Begun::First)
    }

    async fn finish(&self, key: &str, answer: Bytes) -> Result<(), DedupError> {
        let until = Instant::now() + self.config.window;
        let mut state = self.state.lock();
        state.keys.insert(
            key.to_owned(),
            Known {
                until,
                answer: Some(answer),
            },
        );
        state.answers.push_back((until, key.to_owned()));
        Ok(())
    }

    async fn abandon(&self, key: &str) -> Result<(), DedupError> {
        self.state.lock().keys.remove(key);
        Ok(())
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        let Self {
            keys,
            claims,
            answers,
        } = self;
        for times in [claims, answers] {
            while let Some((_, key)) = times.pop_front_if(|(until, _)| *until <= now) {
                // It may have been answered, or claimed again, since.
                if keys.get(&key).is_some_and(|known| known.until <= now) {
                    keys.remove(&key);
                }
            }
        }
    }
}
