//! Where messages from clients go.
//!
//! The door never waits: a message is queued within the limits, or dropped and
//! counted. A single runner takes batches from the queue and sends them, in the
//! order of arrival, so that an upstream that is slow or down delays nobody but
//! itself.

mod batch;
mod kafka;
mod queue;
mod runner;
mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use halley_node::DrainOutcome;
use tokio_util::sync::CancellationToken;

use self::kafka::Topic;
use self::queue::Queue;
use self::runner::{Runner, Upstream};
use self::webhook::Webhook;
use crate::config::{SinkConfig, SinkMode};
use crate::metrics::{Metrics, ReceiveOutcome};

/// The configured sink.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Nothing takes messages.
    None,
    /// Batches are sent upstream.
    Queued(Box<Runner>),
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
    /// Reads the secret that the configuration names; `kafka` is where a topic
    /// would be.
    pub(crate) fn new(
        config: &SinkConfig,
        kafka: Option<&halley_backend::kafka::Config>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let (queue, upstream) = match config.mode {
            SinkMode::None => return Ok(Self::None),
            SinkMode::Webhook => {
                let webhook = Webhook::new(&config.webhook)?;
                let queue = Queue::new((&config.webhook).into());
                (queue, Upstream::Webhook(Box::new(webhook)))
            }
            SinkMode::Kafka => {
                let topic = Topic::new(&config.kafka, kafka)?;
                let queue = Queue::new((&config.kafka).into());
                (queue, Upstream::Kafka(Box::new(topic)))
            }
        };
        Ok(Self::Queued(Box::new(Runner::new(
            queue, upstream, metrics,
        ))))
    }

    /// Reads the secret that the configuration names, to find out whether it can.
    pub(crate) fn check_files(config: &SinkConfig) -> anyhow::Result<()> {
        match config.mode {
            SinkMode::Webhook => Webhook::new(&config.webhook).map(drop),
            SinkMode::None | SinkMode::Kafka => Ok(()),
        }
    }

    /// Takes a message if it can. Never waits.
    pub(crate) fn push(&self, message: Message) -> ReceiveOutcome {
        match self {
            Self::None => ReceiveOutcome::Ignored,
            Self::Queued(runner) => runner.queue.push(message),
        }
    }

    /// What waits.
    pub(crate) fn depth(&self) -> Depth {
        match self {
            Self::None => Depth::default(),
            Self::Queued(runner) => runner.queue.depth(),
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
            Self::Queued(runner) => runner.run(drain, now).await,
        }
    }
}

#[cfg(test)]
mod tests;
