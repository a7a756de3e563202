//! Records on their way into Kafka.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{Config, ConfigError};
use budget::Budget;
use client::Client;
use passes::{Batch, Passes};

mod budget;
mod client;
mod passes;

/// Limits of a [`Producer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// Time in which Kafka must have taken a record; then it is given up.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
    /// The least time from one set of records that go together to the next, while
    /// many come. A wake-up of each thread on the way is then for many of them.
    #[serde(with = "humantime_serde")]
    pub window_min: Duration,
    /// How long records wait for those that were sent before them to arrive; then
    /// all that wait go together. Nothing waits if nothing is on its way.
    #[serde(with = "humantime_serde")]
    pub window_max: Duration,
    /// Key and value of one record. Brokers take 1,048,588 by default.
    pub message_bytes_max: usize,
    /// Records that Kafka has not taken yet.
    pub queue_records_max: usize,
    /// Bytes of keys and values that Kafka has not taken yet.
    pub queue_bytes_max: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            delivery_timeout: Duration::from_secs(5),
            window_min: Duration::from_millis(2),
            window_max: Duration::from_millis(10),
            message_bytes_max: 1_000_000,
            queue_records_max: 100_000,
            queue_bytes_max: 64 << 20,
        }
    }
}

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct Record {
    /// Decides the partition, as goim's producer does: FNV-1a.
    pub key: Vec<u8>,
    /// The content.
    pub value: Vec<u8>,
    /// Facts beside the content; goim's records have none.
    pub headers: Option<OwnedHeaders>,
}

impl Record {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Why records were not sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Too much is on its way: none was taken, the caller may try again later.
    #[error("queue to kafka is full")]
    Full,
    /// A record, or all together, exceed the limits: the caller must send less.
    #[error("record is too large for kafka")]
    TooLarge,
    /// Kafka did not take all of them in time, or refused some: the caller may
    /// try again, and some may then be there twice.
    #[error("{0}")]
    Unavailable(String),
}

/// Sends records, idempotently and to all in-sync replicas.
#[derive(Debug)]
pub struct Producer {
    config: ProducerConfig,
    budget: Arc<Budget>,
    batches: mpsc::Sender<Batch>,
}

impl Producer {
    /// A producer, which connects by itself.
    pub fn new(kafka: &Config, config: ProducerConfig) -> Result<Self, ConfigError> {
        kafka.check()?;
        let budget = Arc::new(Budget::new(
            config.queue_records_max,
            config.queue_bytes_max,
        ));
        // What the budget takes has room.
        let (batches, waiting) = mpsc::channel(config.queue_records_max.max(1));
        let passes = Passes {
            client: Client::new(kafka, &config, &budget)?,
            kafka: kafka.clone(),
            config: config.clone(),
            budget: Arc::clone(&budget),
            waiting,
        };
        // Ends with the producer; what is not sent then is given up.
        TaskTracker::new().spawn(passes.run());
        Ok(Self {
            config,
            budget,
            batches,
        })
    }

    /// Sends `records` in their order and returns when Kafka has taken all, or
    /// about a second after the time in which it had to.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped sends what it has begun to send.
    pub async fn send(&self, topic: &Arc<str>, records: Vec<Record>) -> Result<(), SendError> {
        if records.is_empty() {
            return Ok(());
        }
        let too_large = |record: &Record| record.bytes() > self.config.message_bytes_max;
        let bytes = records.iter().map(Record::bytes).sum();
        if records.iter().any(too_large) || !self.budget.could_take(records.len(), bytes) {
            return Err(SendError::TooLarge);
        }
        if !self.budget.take(records.len(), bytes) {
            return Err(SendError::Full);
        }
        let (told, taken) = oneshot::channel();
        let count = records.len();
        let batch = Batch {
            topic: Arc::clone(topic),
            records,
            told,
        };
        if self.batches.try_send(batch).is_err() {
            self.budget.give_back(count, bytes);
            return Err(KafkaError::Canceled.into());
        }
        // Dropped by a client that was replaced.
        let dropped = KafkaError::Canceled;
        Ok(taken.await.unwrap_or(Err(dropped))?)
    }

    /// Returns when nothing is on its way: it has arrived or was given up.
    pub async fn emptied(&self) {
        self.budget.emptied().await;
    }

    /// What is on its way: records, and bytes of their keys and values.
    pub fn queued(&self) -> (usize, usize) {
        self.budget.taken()
    }
}

impl From<KafkaError> for SendError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Self::TooLarge,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
