//! The thread that reads the topic.
//!
//! librdkafka's callbacks run in it and may block it: a partition that goes to
//! another member is first settled and committed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use halley_proto::goim::logic::PushMsg;
use parking_lot::Mutex;
use prost::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::config::ConsumerConfig;
use super::shared::Shared;
use super::tracker::{Content, Place, Tracker, Undecodable};
use crate::kafka::{log, log_error};

/// The longest that acknowledgements wait to be looked at.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The same while a partition is paused, and may have room again.
const POLL_WAIT_PAUSED: Duration = Duration::from_millis(5);

/// Records that are taken before anybody is told.
const GATHERED_MAX: usize = 64;

/// Records in one read from which on the next waits for `READ_WINDOW`, so that
/// three threads are not woken for each of them.
const GATHERED_BUSY: usize = 4;
const READ_WINDOW: Duration = Duration::from_millis(2);

/// A member for whom the brokers have no partition is not told so. It counts as
/// one when the group's coordinator has been known for this long.
const SPARE_AFTER_MS: i64 = 3000;

/// Tells once whether the subscription is a member of its group.
type Joined = oneshot::Sender<Result<(), String>>;

pub(super) struct Reader {
    pub(super) client: ClientConfig,
    pub(super) topic: Arc<str>,
    pub(super) config: ConsumerConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) joined: Arc<Mutex<Option<Joined>>>,
}

type Consumer = BaseConsumer<Callbacks>;

impl Reader {
    /// Reads until the subscription is over, then leaves the group.
    pub(super) fn run(self) {
        let mut failures = 0;
        while !self.shared.is_stopping() {
            let Err(error) = self.read() else {
                break;
            };
            failures += 1;
            tracing::warn!(%error, failures, "kafka consumer is broken and made anew");
            tell(&self.joined, Err(error.to_string()));
            self.shared.pause(self.config.retry.pause(failures));
        }
        // Whatever is still in others' hands comes again to somebody.
        self.shared.tracker(Tracker::clear);
    }

    /// Reads with one consumer, until the end or an error that it does not
    /// survive.
    fn read(&self) -> KafkaResult<()> {
        let callbacks = Callbacks {
            topic: Arc::clone(&self.topic),
            revoke_wait: self.config.revoke_wait,
            shared: Arc::clone(&self.shared),
            joined: Arc::clone(&self.joined),
        };
        let consumer: Consumer = self.client.create_with_context(callbacks)?;
        consumer.subscribe(&[&self.topic])?;
        let mut committed = Instant::now();
        while !self.shared.is_stopping() {
            let is_paused = self.shared.tracker(|tracker| tracker.is_paused());
            let wait = if is_paused {
                POLL_WAIT_PAUSED
            } else {
                POLL_WAIT
            };
            self.read_some(&consumer, wait)?;
            if is_paused {
                self.resume(&consumer)?;
            }
            if committed.elapsed() >= self.config.commit_interval {
                committed = Instant::now();
                self.commit(&consumer);
            }
        }
        // Dropped, the consumer revokes its partitions, which commits them.
        Ok(())
    }

    /// Waits for a record, and takes those that came with it: who handles them
    /// is woken once for all.
    fn read_some(&self, consumer: &Consumer, mut wait: Duration) -> KafkaResult<()> {
        let mut read = 0;
        for _ in 0..GATHERED_MAX {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    self.push(consumer, &message)?;
                    read += 1;
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    self.shared.tracker(Tracker::clear);
                    return Err(KafkaError::MessageConsumptionFatal(code));
                }
                Some(Err(error)) => report(&error),
            }
            wait = Duration::ZERO;
        }
        if read > 0 {
            self.shared.tell();
        }
        if (GATHERED_BUSY..GATHERED_MAX).contains(&read) {
            self.shared.pause(READ_WINDOW);
        }
        Ok(())
    }

    fn push(&self, consumer: &Consumer, message: &BorrowedMessage<'_>) -> KafkaResult<()> {
        self.shared.counters.read();
        let value = message.payload().unwrap_or_default();
        let content = match PushMsg::decode(value) {
            Ok(msg) => Content::Push(Arc::new(msg)),
            Err(error) => Content::Undecodable(Arc::new(Undecodable {
                key: message.key().unwrap_or_default().to_vec(),
                value: value.to_vec(),
                reason: error.to_string(),
            })),
        };
        let place = Place {
            partition: message.partition(),
            offset: message.offset(),
        };
        let published = published(message.timestamp().to_millis());
        if self.shared.push(place, value.len(), published, content) {
            consumer.pause(&list(&self.topic, &[place.partition]))?;
        }
        Ok(())
    }

    /// Goes on with partitions that have room again. To resume one that is not
    /// paused would lose what was fetched of it.
    fn resume(&self, consumer: &Consumer) -> KafkaResult<()> {
        let partitions = self.shared.tracker(Tracker::resumes);
        if partitions.is_empty() {
            return Ok(());
        }
        consumer.resume(&list(&self.topic, &partitions))
    }

    /// What becomes of it, the statistics tell.
    fn commit(&self, consumer: &Consumer) {
        let places = self.shared.tracker(Tracker::commits);
        if let Err(error) = commit(consumer, &self.topic, &places, CommitMode::Async) {
            self.shared.counters.commit_failure();
            tracing::warn!(%error, "commit");
            let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
            self.shared
                .tracker(|tracker| tracker.not_committed(&partitions));
        }
    }
}

/// What librdkafka calls from within `poll`, and when the consumer is dropped.
struct Callbacks {
    topic: Arc<str>,
    revoke_wait: Duration,
    shared: Arc<Shared>,
    joined: Arc<Mutex<Option<Joined>>>,
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let topic = statistics.topics.get(&*self.topic).into_iter();
        let partitions = topic.flat_map(|topic| topic.partitions.values());
        // The client says nothing of a commit that nobody waits for.
        let confirmed = partitions
            .clone()
            .map(|partition| (partition.partition, partition.committed_offset));
        let failed = self
            .shared
            .tracker(|tracker| tracker.unconfirmed(confirmed));
        if !failed.is_empty() {
            self.shared.counters.commit_failure();
            tracing::warn!(partitions = ?failed, "commit failed, and is made again");
        }
        // Unknown lags, also of partitions that others have, are negative.
        let lag = partitions.filter_map(|partition| u64::try_from(partition.consumer_lag).ok());
        self.shared.set_lag_records(lag.sum());
        let group = statistics.cgrp.as_ref();
        if group.is_some_and(|group| group.state == "up" && group.stateage >= SPARE_AFTER_MS) {
            tell(&self.joined, Ok(()));
        }
    }
}

impl ConsumerContext for Callbacks {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.shared.counters.rebalance();
        match rebalance {
            Rebalance::Assign(assigned) => {
                let partitions = numbers(assigned);
                tracing::info!(?partitions, "partitions of the push log are ours");
                self.shared.tracker(|tracker| tracker.assign(&partitions));
                tell(&self.joined, Ok(()));
            }
            Rebalance::Revoke(revoked) => {
                let partitions = numbers(revoked);
                tracing::info!(?partitions, "partitions of the push log go to others");
                self.release(consumer, &partitions);
            }
            Rebalance::Error(error) => log_error(error, "rebalance"),
        }
    }
}

impl Callbacks {
    /// Lets partitions go, with all that is accounted for committed.
    fn release(&self, consumer: &BaseConsumer<Self>, partitions: &[i32]) {
        // What is lost already belongs to another.
        if consumer.assignment_lost() {
            tracing::warn!(?partitions, "partitions were lost before they were settled");
        } else {
            self.shared.settle(partitions, self.revoke_wait);
            let places = self.shared.tracker(|tracker| {
                // Commits under way may fail in a rebalance.
                tracker.not_committed(partitions);
                tracker.commits()
            });
            if let Err(error) = commit(consumer, &self.topic, &places, CommitMode::Sync) {
                self.shared.counters.commit_failure();
                tracing::warn!(%error, "last commit failed: some pushes are delivered twice");
                // Some may be of partitions that stay.
                let all: Vec<i32> = places.iter().map(|place| place.partition).collect();
                self.shared.tracker(|tracker| tracker.not_committed(&all));
            }
        }
        let paused = self.shared.tracker(|tracker| tracker.revoke(partitions));
        // Should they come back to us, they are to be read.
        if !paused.is_empty()
            && let Err(error) = consumer.resume(&list(&self.topic, &paused))
        {
            log_error(&error, "resume");
        }
    }
}

fn commit(consumer: &Consumer, topic: &str, places: &[Place], mode: CommitMode) -> KafkaResult<()> {
    if places.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(places.len());
    for place in places {
        let offset = Offset::Offset(place.offset);
        list.add_partition_offset(topic, place.partition, offset)?;
    }
    consumer.commit(&list, mode)
}

fn tell(joined: &Mutex<Option<Joined>>, result: Result<(), String>) {
    if let Some(joined) = joined.lock().take() {
        // Who subscribed may have given up.
        let _ = joined.send(result);
    }
}

/// An error after which the consumer goes on by itself.
fn report(error: &KafkaError) {
    let is_transport = matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
    );
    if is_transport {
        tracing::debug!(%error, "kafka is away");
    } else {
        tracing::warn!(%error, "kafka consumer");
    }
}

/// The time of a record on the clock of this process, and never in its future.
fn published(timestamp_ms: Option<i64>) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    let since_epoch = timestamp_ms.and_then(|milliseconds| u64::try_from(milliseconds).ok());
    let age = since_epoch.and_then(|milliseconds| {
        let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
        SystemTime::now().duration_since(time).ok()
    });
    // The machine may have started later than the record's age says.
    now.checked_sub(age.unwrap_or_default()).unwrap_or(now)
}

fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    let elements = list.elements();
    elements
        .iter()
        .map(TopicPartitionListElem::partition)
        .collect()
}

fn list(topic: &str, partitions: &[i32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        list.add_partition(topic, partition);
    }
    list
}
