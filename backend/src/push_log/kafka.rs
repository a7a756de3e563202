//! The push log in a topic of Kafka, written as goim writes it.
//!
//! A record is in the log when all in-sync replicas have it. Subscriptions are
//! members of a consumer group: each partition is read by one of them, and
//! committed up to its first record that is not acknowledged.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use halley_proto::goim::logic::PushMsg;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Ack, AckSink, Delivery, PublishError, PushLog, SubscribeError, Subscription, record_key,
};
use crate::kafka::{Config, ConfigError, Producer, Record, SendError, Topics};
use dead_letters::DeadLetters;
use reader::Reader;
use shared::Shared;
use stats::Counters;
use tracker::Limits;

pub use config::{Assignment, ConsumerConfig, GroupProtocol, KafkaConfig, Start};
pub use stats::KafkaStats;

mod config;
mod dead_letters;
mod reader;
mod shared;
mod stats;
mod tracker;

/// A push log in Kafka.
#[derive(Debug)]
pub struct KafkaPushLog {
    kafka: Config,
    config: KafkaConfig,
    topic: Arc<str>,
    topics: Topics,
    producer: Arc<Producer>,
    counters: Arc<Counters>,
    subscriptions: Mutex<Vec<Weak<Shared>>>,
    closed: CancellationToken,
}

impl KafkaPushLog {
    /// A log in the cluster `kafka`, which need not be there yet.
    pub fn new(kafka: Config, config: KafkaConfig) -> Result<Self, ConfigError> {
        config.consumer.check()?;
        let producer = Producer::new(&kafka, config.producer.clone())?;
        let consumer = kafka.client(&config.consumer.settings());
        consumer.create_native_config()?;
        let names = vec![config.topic.clone(), config.dead_letter_topic()];
        Ok(Self {
            topics: Topics::new(kafka.clone(), names, config.create_topic.clone()),
            kafka,
            topic: config.topic.as_str().into(),
            config,
            producer: Arc::new(producer),
            counters: Arc::default(),
            subscriptions: Mutex::default(),
            closed: CancellationToken::new(),
        })
    }

    /// What the log has done, and what it and its subscriptions hold.
    pub fn stats(&self) -> KafkaStats {
        let mut stats = self.counters.stats();
        let (records, bytes) = self.producer.queued();
        stats.queued_records = records as u64;
        stats.queued_bytes = bytes as u64;
        for shared in self.subscriptions.lock().iter().filter_map(Weak::upgrade) {
            let (partitions, records, bytes) = shared.tracker(|tracker| tracker.totals());
            stats.partitions += partitions as u64;
            stats.in_flight_records += records as u64;
            stats.in_flight_bytes += bytes as u64;
            stats.lag_records += shared.lag_records();
        }
        stats
    }

    async fn append(&self, records: Vec<Record>) -> Result<(), SendError> {
        let append = async {
            self.topics.ensure().await.map_err(SendError::Unavailable)?;
            self.producer.send(&self.topic, records).await
        };
        // The first records wait for the topic too.
        let timeout = self.config.producer.delivery_timeout;
        let late = || SendError::Unavailable("kafka did not answer in time".to_owned());
        tokio::time::timeout(timeout, append)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

#[async_trait]
impl PushLog for KafkaPushLog {
    async fn publish(&self, records: Vec<PushMsg>) -> Result<(), PublishError> {
        if self.closed.is_cancelled() {
            return Err(PublishError::Closed);
        }
        let encode = |msg: &PushMsg| Record {
            key: record_key(msg).as_bytes().to_vec(),
            value: msg.encode_to_vec(),
            headers: None,
        };
        let encoded: Vec<Record> = records.iter().map(encode).collect();
        drop(records);
        let records = encoded.len();
        let bytes = encoded.iter().map(|record| record.value.len()).sum();
        let result = self.append(encoded).await;
        self.counters.published(records, result.is_ok());
        result.map_err(|error| match error {
            SendError::Full => PublishError::Full {
                retry_after: self.config.retry_after,
            },
            SendError::TooLarge => PublishError::TooLarge { bytes, records },
            SendError::Unavailable(text) => PublishError::Unavailable(text),
        })
    }

    /// Returns when the group has the subscription for a member.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        let unavailable = SubscribeError::Unavailable;
        self.topics.ensure().await.map_err(unavailable)?;
        let (joined, is_joined) = oneshot::channel();
        let subscription = self.start(joined).map_err(unavailable)?;
        let timeout = self.config.consumer.subscribe_timeout;
        let late = || format!("not a member of the consumer group within {timeout:?}");
        match tokio::time::timeout(timeout, is_joined).await {
            Ok(Ok(Ok(()))) => Ok(Box::new(subscription)),
            Ok(Ok(Err(text))) => Err(unavailable(text)),
            Ok(Err(_)) | Err(_) => Err(unavailable(late())),
        }
    }

    async fn close(&self) {
        self.closed.cancel();
        self.producer.emptied().await;
    }
}

impl KafkaPushLog {
    fn start(
        &self,
        joined: oneshot::Sender<Result<(), String>>,
    ) -> Result<KafkaSubscription, String> {
        let config = &self.config.consumer;
        let limits = Limits {
            records_max: config.in_flight_records_max,
            bytes_max: config.in_flight_bytes_max,
        };
        let shared = Arc::new(Shared::new(limits, Arc::clone(&self.counters)));
        let reader = Reader {
            client: self.kafka.client(&config.settings()),
            topic: Arc::clone(&self.topic),
            config: config.clone(),
            shared: Arc::clone(&shared),
            joined: Arc::new(Mutex::new(Some(joined))),
        };
        let (over, is_over) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("push-log".to_owned())
            .spawn(move || {
                reader.run();
                drop(over);
            })
            .map_err(|error| format!("start a thread: {error}"))?;
        let dead_letters = DeadLetters {
            shared: Arc::clone(&shared),
            producer: Arc::clone(&self.producer),
            topic: Arc::clone(&self.topic),
            dead_letter_topic: self.config.dead_letter_topic().into(),
            retry: config.retry,
        };
        let tasks = TaskTracker::new();
        let ending = CancellationToken::new();
        tasks.spawn(ending.clone().run_until_cancelled_owned(dead_letters.run()));
        {
            let mut subscriptions = self.subscriptions.lock();
            subscriptions.retain(|shared| shared.strong_count() > 0);
            subscriptions.push(Arc::downgrade(&shared));
        }
        Ok(KafkaSubscription {
            shared,
            is_over,
            ending,
            revoke_wait: config.revoke_wait,
            close_timeout: config.close_timeout,
        })
    }
}

struct KafkaSubscription {
    shared: Arc<Shared>,
    /// Ends when the thread does.
    is_over: oneshot::Receiver<()>,
    ending: CancellationToken,
    revoke_wait: Duration,
    close_timeout: Duration,
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        // A long backlog must not keep the consumer's task from yielding.
        tokio::task::coop::consume_budget().await;
        let taken = self.shared.next().await?;
        let sink = Arc::clone(&self.shared) as Arc<dyn AckSink>;
        Some(Delivery {
            msg: taken.msg,
            published: taken.published,
            ack: Ack::new(sink, taken.id),
        })
    }

    /// Nothing is lost with this process: others read on from what is
    /// committed.
    fn drain(&mut self) {
        self.shared.drain();
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.revoke_wait)
    }

    async fn close(mut self: Box<Self>) {
        self.shared.stop();
        let over = tokio::time::timeout(self.close_timeout, &mut self.is_over);
        if over.await.is_err() {
            tracing::warn!("last acknowledgements may not have reached kafka");
        }
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.shared.stop();
        self.ending.cancel();
    }
}
