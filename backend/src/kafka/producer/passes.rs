//! Records go to librdkafka in passes: what comes while one is under way gathers
//! for the next, which goes when that has arrived, and a moment later if many come.
//!
//! librdkafka makes a request of what it has for a partition. Left to itself, it
//! either makes a record wait that has nothing to wait for, or makes as many
//! requests of many records as there are records.

use std::convert::Infallible;
use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::budget::Budget;
use super::client::{Client, Outcome};
use super::{ProducerConfig, Record};
use crate::kafka::Config;

/// Calls whose records go in one pass.
const CALLS_MAX: usize = 4096;

/// Calls in one pass from which on the next keeps its distance. With fewer, a
/// wake-up for each costs less than their waiting would.
const CALLS_BUSY: usize = 8;

/// The records of one call.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) topic: Arc<str>,
    pub(super) records: Vec<Record>,
    pub(super) told: oneshot::Sender<Result<(), KafkaError>>,
}

/// See the [module](self).
pub(super) struct Passes {
    pub(super) kafka: Config,
    pub(super) config: ProducerConfig,
    pub(super) budget: Arc<Budget>,
    pub(super) client: Client,
    pub(super) waiting: mpsc::Receiver<Batch>,
}

impl Passes {
    /// Ends when nobody is left who could send.
    pub(super) async fn run(mut self) {
        let mut batches = Vec::new();
        while self.waiting.recv_many(&mut batches, CALLS_MAX).await > 0 {
            let calls = batches.len();
            let next = Instant::now() + self.config.window_min;
            let (pass, mut arrived) = mpsc::channel(1);
            for batch in batches.drain(..) {
                self.hand_over(batch, pass.clone());
            }
            drop(pass);
            // A partition that is away must not hold up the others.
            let _ = timeout(self.config.window_max, arrived.recv()).await;
            if calls >= CALLS_BUSY {
                sleep_until(next).await;
            }
        }
    }

    fn hand_over(&mut self, batch: Batch, pass: mpsc::Sender<Infallible>) {
        let Batch {
            topic,
            records,
            told,
        } = batch;
        let outcome = Outcome::new(records.len(), told, pass);
        for (index, record) in records.iter().enumerate() {
            let Err(error) = self.client.send(&topic, record, &outcome) else {
                continue;
            };
            let rest = &records[index..];
            let bytes = rest.iter().map(Record::bytes).sum();
            self.budget.give_back(rest.len(), bytes);
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.replace_client();
            }
            outcome.settle(rest.len(), Some(error));
            return;
        }
    }

    /// Makes a new client in the place of one that will never send again.
    fn replace_client(&mut self) {
        tracing::warn!("kafka producer is broken and made anew");
        match Client::new(&self.kafka, &self.config, &self.budget) {
            Ok(new) => self.client = new,
            Err(error) => tracing::error!(%error, "kafka producer cannot be made"),
        }
    }
}
