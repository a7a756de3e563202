//! librdkafka's producer, and what it tells of each record.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::{mpsc, oneshot};

use super::budget::Budget;
use super::{ProducerConfig, Record};
use crate::kafka::{Config, ConfigError, log, log_error};

/// What a record may have beyond `message_bytes_max`: its headers, and what a
/// batch of one record adds to it.
const OVERHEAD_BYTES: usize = 64 << 10;

/// How often the thread that waits for reports looks whether it is to end.
/// rdkafka's polls spin for the last millisecond of their time, so short ones
/// cost CPU in an idle process too.
const REPORTS_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Client {
    producer: Arc<BaseProducer<Reports>>,
    has_ended: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(
        kafka: &Config,
        config: &ProducerConfig,
        budget: &Arc<Budget>,
    ) -> Result<Self, ConfigError> {
        let message_bytes_max = config.message_bytes_max + OVERHEAD_BYTES;
        // The budget is the limit. Twice as much cannot be reached by it.
        let records_max = config.queue_records_max.saturating_mul(2);
        let kilobytes_max = (config.queue_bytes_max + message_bytes_max).div_ceil(512);
        let fixed = [
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("partitioner", "fnv1a".to_owned()),
            ("linger.ms", "0".to_owned()),
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
        let producer = kafka.client(&fixed).create_with_context(reports)?;
        let client = Self {
            producer: Arc::new(producer),
            has_ended: Arc::default(),
        };
        let producer = Arc::clone(&client.producer);
        let has_ended = Arc::clone(&client.has_ended);
        thread::Builder::new()
            .name("kafka-reports".to_owned())
            .spawn(move || {
                while !has_ended.load(Ordering::Relaxed) {
                    producer.poll(REPORTS_WAIT);
                }
            })
            .map_err(|error| ConfigError::Client(format!("start a thread: {error}")))?;
        Ok(client)
    }

    /// Hands a record over.
    pub(super) fn send(
        &self,
        topic: &str,
        record: &Record,
        outcome: &Arc<Outcome>,
    ) -> Result<(), KafkaError> {
        let mut to_send = BaseRecord::with_opaque_to(topic, Arc::clone(outcome))
            .key(&record.key)
            .payload(&record.value);
        to_send.headers.clone_from(&record.headers);
        self.producer.send(to_send).map_err(|(error, _)| error)
    }
}

impl Drop for Client {
    /// What was not sent is reported so, and the thread ends in its time.
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
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
pub(super) struct Outcome {
    state: Mutex<Settled>,
    _pass: mpsc::Sender<Infallible>,
}

struct Settled {
    left: usize,
    error: Option<KafkaError>,
    told: Option<oneshot::Sender<Result<(), KafkaError>>>,
}

impl Outcome {
    /// Of so many records, for `told`. It keeps its `pass` until all are settled.
    pub(super) fn new(
        records: usize,
        told: oneshot::Sender<Result<(), KafkaError>>,
        pass: mpsc::Sender<Infallible>,
    ) -> Arc<Self> {
        let state = Mutex::new(Settled {
            left: records,
            error: None,
            told: Some(told),
        });
        Arc::new(Self { state, _pass: pass })
    }

    pub(super) fn settle(&self, records: usize, error: Option<KafkaError>) {
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
