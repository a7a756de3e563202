//! Puts records that are no pushes where a person can look at them.

use std::sync::Arc;

use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};

use super::super::AckSink as _;
use super::shared::Shared;
use super::tracker::Dead;
use crate::backoff::Backoff;
use crate::kafka::{Producer, Record, SendError};

/// Letters on their way at a time.
const UNDER_WAY_MAX: usize = 64;

/// The names of the headers that say where a dead letter comes from and why.
const REASON: &str = "halley-reason";
const TOPIC: &str = "halley-topic";
const PARTITION: &str = "halley-partition";
const OFFSET: &str = "halley-offset";

pub(super) struct DeadLetters {
    pub(super) shared: Arc<Shared>,
    pub(super) producer: Arc<Producer>,
    /// Where the records were.
    pub(super) topic: Arc<str>,
    /// Where they go.
    pub(super) dead_letter_topic: Arc<str>,
    pub(super) retry: Backoff,
}

impl DeadLetters {
    /// Never ends. Dropped, it leaves what is not written to be read again.
    pub(super) async fn run(self) {
        loop {
            let dead = self.shared.next_dead(UNDER_WAY_MAX).await;
            join_all(dead.iter().map(|dead| self.bury(dead))).await;
        }
    }

    async fn bury(&self, dead: &Dead) {
        let (partition, offset) = (dead.place.partition, dead.place.offset);
        let reason = &dead.record.reason;
        tracing::warn!(partition, offset, reason, "record is no push");
        let mut letter = self.letter(dead);
        let mut failures = 0;
        loop {
            let letters = vec![letter.clone()];
            match self.producer.send(&self.dead_letter_topic, letters).await {
                Ok(()) => {
                    self.shared.counters.dead_letter();
                    return self.shared.done(dead.id);
                }
                // The facts in its headers still lead to it.
                Err(SendError::TooLarge) if !letter.value.is_empty() => letter.value.clear(),
                Err(SendError::TooLarge) if !letter.key.is_empty() => letter.key.clear(),
                Err(error) => {
                    self.shared.counters.dead_letter_failure();
                    failures += 1;
                    tracing::warn!(%error, failures, "dead letter cannot be written");
                    tokio::time::sleep(self.retry.pause(failures)).await;
                }
            }
        }
    }

    fn letter(&self, dead: &Dead) -> Record {
        let partition = dead.place.partition.to_string();
        let offset = dead.place.offset.to_string();
        let facts = [
            (REASON, dead.record.reason.as_str()),
            (TOPIC, &self.topic),
            (PARTITION, &partition),
            (OFFSET, &offset),
        ];
        let headers = facts
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        Record {
            key: dead.record.key.clone(),
            value: dead.record.value.clone(),
            headers: Some(headers),
        }
    }
}
