//! Records on their way into Kafka.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Config, ConfigError, log, log_error};
use budget::Budget;

mod budget;

/// What a record may have beyond `message_bytes_max`: its headers, and what a
/// batch of one record adds to it.
const OVERHEAD_BYTES: usize = 64 << 10;

/// Limits of a [`Producer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// Time in which Kafka must have taken a record; then it is given up.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
    /// How long a record waits for others to go with it.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
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
            linger: Duration::from_millis(1),
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
    kafka: Config,
    config: ProducerConfig,
    budget: Arc<Budget>,
    client: RwLock<Arc<Client>>,
}

impl Producer {
    /// A producer, which connects by itself.
    pub fn new(kafka: &Config, config: ProducerConfig) -> Result<Self, ConfigError> {
        kafka.check()?;
        let budget = Arc::new(Budget::new(
            config.queue_records_max,
            config.queue_bytes_max,
        ));
        Ok(Self {
            client: RwLock::new(Arc::new(Client::new(kafka, &config, &budget)?)),
            kafka: kafka.clone(),
            config,
            budget,
        })
    }

    /// Sends `records` in their order and returns when Kafka has taken all.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped sends what it has begun to send.
    pub async fn send(&self, topic: &str, records: &[Record]) -> Result<(), SendError> {
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
        let (outcome, mut taken) = Outcome::new(records.len());
        self.enqueue(topic, records, &outcome);
        let taken = async {
            // Dropped by a client that was replaced.
            let dropped = KafkaError::Canceled;
            (&mut taken).await.unwrap_or(Err(dropped))
        };
        // librdkafka looks for records past their time once a second.
        match tokio::time::timeout(self.config.delivery_timeout, taken).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(SendError::Unavailable(
                "kafka did not answer in time".to_owned(),
            )),
        }
    }

    fn enqueue(&self, topic: &str, records: &[Record], outcome: &Arc<Outcome>) {
        let client = Arc::clone(&self.client.read());
        for (index, record) in records.iter().enumerate() {
            let mut to_send = BaseRecord::with_opaque_to(topic, Arc::clone(outcome))
                .key(&record.key)
                .payload(&record.value);
            to_send.headers.clone_from(&record.headers);
            let Err((error, _)) = client.threaded.send(to_send) else {
                continue;
            };
            let rest = &records[index..];
            let bytes = rest.iter().map(Record::bytes).sum();
            self.budget.give_back(rest.len(), bytes);
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.replace(&client);
            }
            outcome.settle(rest.len(), Some(error));
            return;
        }
    }

    /// Makes a new client in the place of one that will never send again.
    fn replace(&self, broken: &Arc<Client>) {
        let mut client = self.client.write();
        if !Arc::ptr_eq(&client, broken) {
            return;
        }
        tracing::warn!("kafka producer is broken and made anew");
        match Client::new(&self.kafka, &self.config, &self.budget) {
            Ok(new) => *client = Arc::new(new),
            Err(error) => tracing::error!(%error, "kafka producer cannot be made"),
        }
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

struct Client {
    threaded: ThreadedProducer<Reports>,
}

impl Client {
    fn new(
        kafka: &Config,
        config: &ProducerConfig,
        budget: &Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        let linger_ms = config.linger.as_secs_f64() * 1000.0;
        let message_bytes_max = config.message_bytes_max + OVERHEAD_BYTES;
        // The budget is the limit. Twice as much cannot be reached by it.
        let records_max = config.queue_records_max.saturating_mul(2);
        let kilobytes_max = (config.queue_bytes_max + message_bytes_max).div_ceil(512);
        let fixed = [
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("partitioner", "fnv1a".to_owned()),
            ("linger.ms", linger_ms.to_string()),
            ("message.max.bytes", message_bytes_max.to_string()),
            (
                "message.timeout.ms",
                config.delivery_timeout.as_millis().to_string(),
            ),
            ("queue.buffering.max.messages", records_max.to_string()),
            ("queue.buffering.max.kbytes", kilobytes_max.to_string()),
        ];
        let reports = Reports {
            budget: Arc::clone(budget),
        };
        let threaded = kafka.client(&fixed).create_with_context(reports)?;
        Ok(Self { threaded })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Learns what became of each record.
struct Reports {
    budget: Arc<Budget>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Outcome>;

    fn delivery(&self, result: &DeliveryResult<'_>, outcome: Arc<Outcome>) {
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error.clone())),
        };
        self.budget
            .give_back(1, message.payload_len() + message.key_len());
        outcome.settle(1, error);
    }
}

/// What became of the records of one call.
struct Outcome {
    state: Mutex<Settled>,
}

struct Settled {
    left: usize,
    error: Option<KafkaError>,
    told: Option<oneshot::Sender<Result<(), KafkaError>>>,
}

impl Outcome {
    fn new(records: usize) -> (Arc<Self>, oneshot::Receiver<Result<(), KafkaError>>) {
        let (told, taken) = oneshot::channel();
        let state = Mutex::new(Settled {
            left: records,
            error: None,
            told: Some(told),
        });
        (Arc::new(Self { state }), taken)
    }

    fn settle(&self, records: usize, error: Option<KafkaError>) {
        let mut state = self.state.lock();
        state.left -= records;
        if state.error.is_none() {
            state.error = error;
        }
        if state.left == 0 {
            let result = state.error.take().map_or(Ok(()), Err);
            if let Some(told) = state.told.take() {
                // Who asked may have stopped waiting.
                let _ = told.send(result);
            }
        }
    }
}
