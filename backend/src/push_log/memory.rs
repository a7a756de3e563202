//! The push log of one process, in its memory.
//!
//! It holds a record until the record is acknowledged, and refuses new ones
//! when that would exceed its limits: nothing accepted is ever discarded.
//!
//! Records are dealt by partition. A partition belongs to one subscriber at a
//! time and changes hands only while none of its records is in a subscriber's
//! hands, so several subscribers never overtake each other within a record
//! key. A subscriber takes the oldest record of all its partitions first: one
//! subscriber alone gets the records exactly in the order of publication.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_proto::goim::logic::PushMsg;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Ack, AckSink, Delivery, Depth, PublishError, PushLog, SubscribeError, Subscription};
use state::{State, SubscriberId, Taken};

mod state;

/// Limits of a [`MemoryPushLog`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Unacknowledged records.
    pub records_max: usize,
    /// Encoded bytes of the unacknowledged records.
    pub bytes_max: usize,
    /// Partitions: the number of subscribers that can share the records. 0 counts as 1.
    pub partitions: u32,
    /// Subscribers.
    pub subscribers_max: usize,
    /// The pause advised to those refused because the log is full.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            records_max: 200_000,
            bytes_max: 128 << 20,
            partitions: 64,
            subscribers_max: 64,
            retry_after: Duration::from_secs(1),
        }
    }
}

/// A push log in this process's memory. Clones are the same log.
#[derive(Clone)]
pub struct MemoryPushLog {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    emptied: Notify,
}

impl MemoryPushLog {
    /// An empty log.
    pub fn new(config: MemoryConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(config)),
                emptied: Notify::new(),
            }),
        }
    }

    /// Returns when every record is acknowledged.
    pub async fn drained(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.shared.emptied.notified());
            emptied.as_mut().enable();
            if self.shared.state.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

#[async_trait]
impl PushLog for MemoryPushLog {
    async fn publish(&self, records: Vec<PushMsg>) -> Result<(), PublishError> {
        let mut state = self.shared.state.lock();
        state.publish(records, Instant::now())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        let (id, wake) = self.shared.state.lock().subscribe()?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(MemorySubscription {
            hands: Arc::new(Hands { shared, id }),
            wake,
        }))
    }

    async fn close(&self) {
        self.shared.state.lock().close();
    }

    fn depth(&self) -> Option<Depth> {
        Some(self.shared.state.lock().depth(Instant::now()))
    }
}

impl std::fmt::Debug for MemoryPushLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryPushLog")
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}

struct MemorySubscription {
    hands: Arc<Hands>,
    wake: Arc<Notify>,
}

/// Where the records of one subscriber come back to.
struct Hands {
    shared: Arc<Shared>,
    id: SubscriberId,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Delivery> {
        // A full log must not keep the consumer's task from yielding.
        tokio::task::coop::consume_budget().await;
        loop {
            let taken = self.hands.shared.state.lock().take(self.hands.id);
            match taken {
                Taken::Record { id, msg, published } => {
                    let sink = Arc::clone(&self.hands) as Arc<dyn AckSink>;
                    let ack = Ack::new(sink, id);
                    return Some(Delivery {
                        msg,
                        published,
                        ack,
                    });
                }
                Taken::End => return None,
                Taken::Nothing => self.wake.notified().await,
            }
        }
    }

    fn drain(&mut self) {
        self.hands.shared.state.lock().drain(self.hands.id);
    }

    /// The log ends with its process, and so do its subscriptions.
    fn patience(&self) -> Option<Duration> {
        None
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        self.hands.shared.state.lock().unsubscribe(self.hands.id);
    }
}

impl AckSink for Hands {
    fn done(&self, id: u64) {
        // The record is dropped after the lock is.
        let (_record, empty) = {
            let mut state = self.shared.state.lock();
            let record = state.done(self.id, id);
            (record, state.is_empty())
        };
        if empty {
            self.shared.emptied.notify_waiters();
        }
    }

    fn returned(&self, id: u64) {
        self.shared.state.lock().returned(self.id, id);
    }
}

#[cfg(test)]
mod tests;
