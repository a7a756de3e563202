use std::path::PathBuf;
use std::time::Duration;

use halley_backend::backoff::Backoff;
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

impl SinkConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.mode == SinkMode::None {
            return Ok(());
        }
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
