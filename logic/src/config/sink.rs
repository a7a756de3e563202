use std::path::PathBuf;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_backend::kafka::CreateTopic;
use serde::{Deserialize, Serialize};

use super::{ConfigError, lasting, positive, require};

/// Where messages from clients go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkConfig {
    /// Which sink takes them.
    pub mode: SinkMode,
    /// The sink `webhook`.
    pub webhook: SinkWebhookConfig,
    /// The sink `kafka`.
    pub kafka: SinkKafkaConfig,
}

/// The sinks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkMode {
    /// Nothing takes them.
    #[default]
    None,
    /// Batches are posted to a URL.
    Webhook,
    /// They are written to a topic of Kafka.
    Kafka,
}

/// Posts batches of messages to a URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkWebhookConfig {
    /// The URL, `http` or `https`.
    pub url: String,
    /// File with the secret that signs the batches; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Messages in one batch.
    pub batch_messages_max: usize,
    /// Bytes of the message bodies in one batch; a single larger message is
    /// sent alone.
    pub batch_bytes_max: usize,
    /// How long a message waits for others to fill its batch.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Time in which one attempt must be answered.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Further attempts for a batch that failed; then it is dropped.
    pub retries_max: u32,
    /// Pauses before further attempts.
    pub backoff: Backoff,
    /// Messages that wait, beyond those being sent; further ones are dropped.
    pub queue_messages_max: usize,
    /// Bytes of the message bodies that wait.
    pub queue_bytes_max: usize,
}

impl Default for SinkWebhookConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret_file: None,
            batch_messages_max: 500,
            batch_bytes_max: 256 * 1024,
            linger: Duration::from_millis(20),
            timeout: Duration::from_secs(5),
            retries_max: 5,
            backoff: Backoff {
                min: Duration::from_millis(200),
                max: Duration::from_secs(5),
            },
            queue_messages_max: 100_000,
            queue_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Writes messages to a topic of Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkKafkaConfig {
    /// The topic.
    pub topic: String,
    /// Makes the topic if it is missing.
    pub create_topic: CreateTopic,
    /// Time in which Kafka must have taken a batch; then it is dropped.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
    /// Messages that are on their way at a time.
    pub batch_messages_max: usize,
    /// Bytes of the message bodies that are on their way at a time; a single
    /// larger message goes alone.
    pub batch_bytes_max: usize,
    /// Messages that wait, beyond those being sent; further ones are dropped.
    pub queue_messages_max: usize,
    /// Bytes of the message bodies that wait.
    pub queue_bytes_max: usize,
}

impl Default for SinkKafkaConfig {
    fn default() -> Self {
        Self {
            topic: "halley-upstream".to_owned(),
            create_topic: CreateTopic::default(),
            delivery_timeout: Duration::from_secs(30),
            batch_messages_max: 2000,
            batch_bytes_max: 1024 * 1024,
            queue_messages_max: 100_000,
            queue_bytes_max: 64 * 1024 * 1024,
        }
    }
}

impl SinkConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.mode {
            SinkMode::None => Ok(()),
            SinkMode::Webhook => self.check_webhook(),
            SinkMode::Kafka => self.check_kafka(),
        }
    }

    fn check_kafka(&self) -> Result<(), ConfigError> {
        let kafka = &self.kafka;
        require(!kafka.topic.is_empty(), "sink.kafka.topic", "is missing")?;
        positive("sink.kafka.batch_messages_max", kafka.batch_messages_max)?;
        positive("sink.kafka.batch_bytes_max", kafka.batch_bytes_max)?;
        positive("sink.kafka.queue_messages_max", kafka.queue_messages_max)?;
        positive("sink.kafka.queue_bytes_max", kafka.queue_bytes_max)?;
        lasting("sink.kafka.delivery_timeout", kafka.delivery_timeout)
    }

    fn check_webhook(&self) -> Result<(), ConfigError> {
        let webhook = &self.webhook;
        require(!webhook.url.is_empty(), "sink.webhook.url", "is missing")?;
        let is_signed = webhook.secret_file.is_some();
        require(is_signed, "sink.webhook.secret_file", "is missing")?;
        positive(
            "sink.webhook.batch_messages_max",
            webhook.batch_messages_max,
        )?;
        positive("sink.webhook.batch_bytes_max", webhook.batch_bytes_max)?;
        positive(
            "sink.webhook.queue_messages_max",
            webhook.queue_messages_max,
        )?;
        positive("sink.webhook.queue_bytes_max", webhook.queue_bytes_max)?;
        lasting("sink.webhook.timeout", webhook.timeout)
    }
}
