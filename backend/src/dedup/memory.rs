//! The idempotency window in this process' memory: for one logic.

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Begun, Claim, Dedup, DedupConfig, DedupError};

/// The window of one logic, in its memory.
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
    state: KeyState,
}

#[derive(Debug)]
enum KeyState {
    Claimed { ticket: u64 },
    Answered(Bytes),
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
    async fn begin(&self, claim: &Claim) -> Result<Begun, DedupError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.forget(now);
        if let Some(known) = state.keys.get(&claim.key) {
            return Ok(match &known.state {
                KeyState::Claimed { ticket } if *ticket == claim.ticket => Begun::First,
                KeyState::Claimed { .. } => Begun::InProgress,
                KeyState::Answered(answer) => Begun::Done(answer.clone()),
            });
        }
        if state.keys.len() >= self.config.keys_max {
            return Err(DedupError::Full);
        }
        let known = Known {
            until: now + self.config.claim,
            state: KeyState::Claimed {
                ticket: claim.ticket,
            },
        };
        state.claims.push_back((known.until, claim.key.clone()));
        state.keys.insert(claim.key.clone(), known);
        Ok(Begun::First)
    }

    async fn finish(&self, claim: &Claim, answer: Bytes) -> Result<(), DedupError> {
        let mut state = self.state.lock();
        if state.keys.contains_key(&claim.key) && !state.holds(claim) {
            return Ok(());
        }
        let known = Known {
            until: Instant::now() + self.config.window,
            state: KeyState::Answered(answer),
        };
        state.answers.push_back((known.until, claim.key.clone()));
        state.keys.insert(claim.key.clone(), known);
        Ok(())
    }

    async fn abandon(&self, claim: &Claim) -> Result<(), DedupError> {
        let mut state = self.state.lock();
        if state.holds(claim) {
            state.keys.remove(&claim.key);
        }
        Ok(())
    }
}

impl State {
    fn holds(&self, claim: &Claim) -> bool {
        self.keys.get(&claim.key).is_some_and(
            |known| matches!(known.state, KeyState::Claimed { ticket } if ticket == claim.ticket),
        )
    }

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
