//! Writes messages to a topic of Kafka: the key is the sender's user id in
//! decimal, the value the encoded `goim.logic.ReceiveReq` that comet called
//! logic with.

use std::sync::Arc;

use anyhow::Context as _;
use halley_backend::kafka::{self, Producer, ProducerConfig, Record, SendError, Topics};
use halley_proto::goim::logic::ReceiveReq;
use halley_proto::goim::protocol::Proto;
use prost::Message as _;
use tokio::time::{Duration, timeout};

use super::Message;
use crate::config::SinkKafkaConfig;
use crate::metrics::SinkOutcome;

/// What a record has beyond the message's body: numbers, and the user id once
/// more as the key.
const OVERHEAD_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Topic {
    name: Arc<str>,
    topics: Topics,
    producer: Producer,
    delivery_timeout: Duration,
}

impl Topic {
    pub(super) fn new(
        config: &SinkKafkaConfig,
        kafka: Option<&kafka::Config>,
    ) -> anyhow::Result<Self> {
        let kafka = kafka.context("sink.mode = \"kafka\" needs kafka.brokers")?;
        let message_bytes_max = ProducerConfig::default().message_bytes_max;
        let producer = ProducerConfig {
            delivery_timeout: config.delivery_timeout,
            window_min: Duration::ZERO,
            window_max: Duration::ZERO,
            message_bytes_max,
            // One batch at a time.
            queue_records_max: config.batch_messages_max,
            queue_bytes_max: config.batch_bytes_max
                + config.batch_messages_max * OVERHEAD_BYTES
                + message_bytes_max,
        };
        let names = vec![config.topic.clone()];
        Ok(Self {
            name: config.topic.as_str().into(),
            topics: Topics::new(kafka.clone(), names, config.create_topic.clone()),
            producer: Producer::new(kafka, producer)?,
            delivery_timeout: config.delivery_timeout,
        })
    }

    /// Sends a batch. One that fails may have arrived in part.
    pub(super) async fn send(&self, messages: Vec<Message>) -> SinkOutcome {
        let records: Vec<Record> = messages.into_iter().map(record).collect();
        let send = async {
            self.topics.ensure().await.map_err(SendError::Unavailable)?;
            // What an earlier batch left is given up soon after its time.
            self.producer.emptied().await;
            self.producer.send(&self.name, records).await
        };
        match timeout(self.delivery_timeout, send).await {
            Ok(Ok(())) => SinkOutcome::Sent,
            Ok(Err(SendError::TooLarge)) => SinkOutcome::Refused,
            Ok(Err(error)) => {
                tracing::debug!(%error, "batch not written");
                SinkOutcome::Failed
            }
            Err(_) => SinkOutcome::Failed,
        }
    }
}

fn record(message: Message) -> Record {
    let request = ReceiveReq {
        mid: message.mid,
        proto: Some(Proto {
            ver: message.ver,
            op: message.op,
            seq: message.seq,
            body: message.body,
        }),
    };
    Record {
        key: message.mid.to_string().into_bytes(),
        value: request.encode_to_vec(),
        headers: None,
    }
}

#[cfg(test)]
mod tests;
