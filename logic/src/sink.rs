//! Where messages from clients go.
//!
//! The door never waits: a message is queued within the limits, or dropped and
//! counted. A single runner takes batches from the queue and posts them, in
//! the order of arrival, so that an upstream that is slow or down delays
//! nobody but itself.

mod batch;
mod queue;
mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use halley_node::DrainOutcome;
use tokio_util::sync::CancellationToken;

use self::queue::Queue;
use self::webhook::Webhook;
use crate::config::{SinkConfig, SinkMode};
use crate::metrics::{Metrics, ReceiveOutcome};

/// The configured sink.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Nothing takes messages.
    None,
    /// Batches are posted to a URL.
    Webhook(Box<Posted>),
}

/// A queue and who empties it.
#[derive(Debug)]
pub(crate) struct Posted {
    queue: Queue,
    webhook: Webhook,
    metrics: Arc<Metrics>,
}

/// A message that a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) mid: i64,
    pub(crate) op: i32,
    pub(crate) seq: i32,
    pub(crate) ver: i32,
    pub(crate) body: Bytes,
}

/// What waits in a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) messages: usize,
    /// Of the bodies.
    pub(crate) bytes: usize,
}

impl Sink {
    /// Reads the secret that the configuration names.
    pub(crate) fn new(config: &SinkConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        match config.mode {
            SinkMode::None => Ok(Self::None),
            SinkMode::Webhook => Ok(Self::Webhook(Box::new(Posted {
                queue: Queue::new(&config.webhook),
                webhook: Webhook::new(&config.webhook)?,
                metrics,
            }))),
        }
    }

    /// Takes a message if it can. Never waits.
    pub(crate) fn push(&self, message: Message) -> ReceiveOutcome {
        match self {
            Self::None => ReceiveOutcome::Ignored,
            Self::Webhook(posted) => posted.queue.push(message),
        }
    }

    /// What waits.
    pub(crate) fn depth(&self) -> Depth {
        match self {
            Self::None => Depth::default(),
            Self::Webhook(posted) => posted.queue.depth(),
        }
    }

    /// Sends what comes in until `drain` is cancelled, then what is left; gives
    /// up when `now` is. Counts the messages of the time after `drain`.
    pub(crate) async fn run(
        &self,
        drain: &CancellationToken,
        now: &CancellationToken,
    ) -> DrainOutcome {
        match self {
            Self::None => {
                drain.cancelled().await;
                DrainOutcome::default()
            }
            Self::Webhook(posted) => posted.run(drain, now).await,
        }
    }
}

#[cfg(test)]
mod tests;
