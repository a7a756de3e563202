//! What an operator can set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::kafka::{ConfigError, CreateTopic, ProducerConfig};

/// A push log in a topic of Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// The topic.
    pub topic: String,
    /// Where records go that are no pushes; empty: the topic's name and `.dead`.
    pub dead_letter_topic: String,
    /// Makes the topics if they are missing.
    pub create_topic: CreateTopic,
    /// The pause advised to those refused because too much is on its way.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// The way into the topic.
    pub producer: ProducerConfig,
    /// The way out of it.
    pub consumer: ConsumerConfig,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            topic: "goim-push-topic".to_owned(),
            dead_letter_topic: String::new(),
            create_topic: CreateTopic::default(),
            retry_after: Duration::from_secs(1),
            producer: ProducerConfig::default(),
            consumer: ConsumerConfig::default(),
        }
    }
}

impl KafkaConfig {
    pub(super) fn dead_letter_topic(&self) -> String {
        if self.dead_letter_topic.is_empty() {
            format!("{}.dead", self.topic)
        } else {
            self.dead_letter_topic.clone()
        }
    }
}

/// Limits of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The consumer group, whose members share the topic.
    pub group: String,
    /// How members agree on who has which partition.
    pub group_protocol: GroupProtocol,
    /// What the protocol `classic` deals partitions by; the same for all
    /// members.
    pub assignment: Assignment,
    /// Where a group begins that is new to the topic.
    pub start: Start,
    /// Time after which a silent member is taken for dead. With the protocol
    /// `consumer` the brokers decide.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How often a member shows that it lives, and learns of changes. With the
    /// protocol `consumer` the brokers decide.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// Records of one partition that are read and not acknowledged; no more
    /// are read before half of them are.
    pub in_flight_records_max: usize,
    /// Bytes of one partition's records that are read and not acknowledged.
    pub in_flight_bytes_max: usize,
    /// Bytes that are fetched ahead, of all partitions.
    pub prefetch_bytes_max: usize,
    /// How often acknowledgements are written to Kafka. What was acknowledged
    /// since is delivered twice if the process dies.
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// How long a partition that goes to another member, as all do when a job
    /// drains, waits for the acknowledgement of its records; then they are
    /// delivered twice.
    #[serde(with = "humantime_serde")]
    pub revoke_wait: Duration,
    /// Time to become a member of the group.
    #[serde(with = "humantime_serde")]
    pub subscribe_timeout: Duration,
    /// Time for the last acknowledgements, and to leave the group.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
    /// Pauses before a record is again tried to be put into the dead-letter
    /// topic, and before a broken consumer is made anew.
    pub retry: Backoff,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: "goim-push-group-job".to_owned(),
            group_protocol: GroupProtocol::default(),
            assignment: Assignment::default(),
            start: Start::default(),
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_secs(1),
            in_flight_records_max: 16_384,
            in_flight_bytes_max: 16 << 20,
            prefetch_bytes_max: 16 << 20,
            commit_interval: Duration::from_millis(200),
            revoke_wait: Duration::from_secs(2),
            subscribe_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            retry: Backoff::default(),
        }
    }
}

/// The rebalance protocols of Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// Members agree among themselves. A dead one is replaced after
    /// `session_timeout`.
    #[default]
    Classic,
    /// The brokers decide (KIP-848, Kafka 4.0 and later): rebalances are
    /// quicker, but a dead member is replaced only after 45 s unless the
    /// brokers are set otherwise.
    Consumer,
}

/// How the protocol `classic` deals partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Only partitions that change hands stand still in a rebalance; what is
    /// read of the others already goes on while these are settled.
    #[default]
    CooperativeSticky,
    /// As goim does; all partitions stand still in a rebalance.
    Range,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With all that the topic holds: nothing accepted before the first job
    /// was there is skipped.
    #[default]
    Earliest,
    /// With what comes from then on, as goim does.
    Latest,
}

impl ConsumerConfig {
    /// librdkafka's settings.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        let start = match self.start {
            Start::Earliest => "earliest",
            Start::Latest => "latest",
        };
        let prefetch_kilobytes = self.prefetch_bytes_max.div_ceil(1024).max(1);
        let mut settings = vec![
            ("group.id", self.group.clone()),
            ("auto.offset.reset", start.to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("enable.partition.eof", "false".to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
            ("queued.max.messages.kbytes", prefetch_kilobytes.to_string()),
            // A partition that is resumed is fetched with the next request, and
            // one that waits for records holds that up.
            ("fetch.wait.max.ms", "50".to_owned()),
            // A busy partition is asked again when what it had is read, and a moment
            // later: asked as soon as it has answered, it answers with a record or two.
            ("queued.min.messages", "1".to_owned()),
            ("fetch.queue.backoff.ms", "2".to_owned()),
            // An error would otherwise stop fetching for long.
            ("fetch.error.backoff.ms", "100".to_owned()),
            ("statistics.interval.ms", "1000".to_owned()),
        ];
        match self.group_protocol {
            GroupProtocol::Classic => {
                let assignment = match self.assignment {
                    Assignment::CooperativeSticky => "cooperative-sticky",
                    Assignment::Range => "range",
                };
                settings.extend([
                    ("group.protocol", "classic".to_owned()),
                    ("partition.assignment.strategy", assignment.to_owned()),
                    ("session.timeout.ms", milliseconds(self.session_timeout)),
                    (
                        "heartbeat.interval.ms",
                        milliseconds(self.heartbeat_interval),
                    ),
                ]);
            }
            GroupProtocol::Consumer => settings.push(("group.protocol", "consumer".to_owned())),
        }
        settings
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let problem = |key: &str| {
            let text = format!("push_log.kafka.consumer.{key} must not be empty or 0");
            Err(ConfigError::Client(text))
        };
        if self.group.is_empty() {
            return problem("group");
        }
        if self.in_flight_records_max == 0 {
            return problem("in_flight_records_max");
        }
        if self.in_flight_bytes_max == 0 {
            return problem("in_flight_bytes_max");
        }
        Ok(())
    }
}
