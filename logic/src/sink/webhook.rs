//! Posts batches: `Halley-Batch` names a batch, `Halley-Timestamp` is when it
//! was sent (Unix seconds), `Halley-Signature` is `v1=` and the HMAC-SHA256 of
//! timestamp, dot and body in hexadecimal.

use anyhow::Context as _;
use aws_lc_rs::hmac;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use tokio::time::sleep;

use super::Message;
use super::batch::{self, Batch};
use crate::config::SinkWebhookConfig;
use crate::metrics::SinkOutcome;
use crate::outbound;
use crate::secret::Secret;

const BATCH: &str = "halley-batch";
const TIMESTAMP: &str = "halley-timestamp";
const SIGNATURE: &str = "halley-signature";

#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
    url: Url,
    key: hmac::Key,
    config: SinkWebhookConfig,
}

/// How one attempt ended.
enum Attempt {
    Taken,
    /// The receiver will not take it in another attempt either.
    Refused,
    Failed,
}

impl Webhook {
    pub(super) fn new(config: &SinkWebhookConfig) -> anyhow::Result<Self> {
        let url: Url = config.url.parse().context("parse sink.webhook.url")?;
        let file = config
            .secret_file
            .as_ref()
            .context("sink.webhook.secret_file is missing")?;
        let secret = Secret::read(file).with_context(|| format!("read {}", file.display()))?;
        anyhow::ensure!(!secret.bytes().is_empty(), "{} is empty", file.display());
        Ok(Self {
            client: outbound::client(&url, config.timeout)?,
            url,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()),
            config: config.clone(),
        })
    }

    /// Sends a batch, several times if need be.
    pub(super) async fn send(&self, messages: Vec<Message>) -> SinkOutcome {
        let batch = Batch::write(&messages);
        drop(messages);
        let mut failures = 0;
        loop {
            match self.attempt(&batch).await {
                Attempt::Taken => return SinkOutcome::Sent,
                Attempt::Refused => return SinkOutcome::Refused,
                Attempt::Failed => {}
            }
            failures += 1;
            if failures > self.config.retries_max {
                return SinkOutcome::Failed;
            }
            sleep(self.config.backoff.pause(failures)).await;
        }
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let timestamp = batch::timestamp();
        let signature = batch::signature(&self.key, &timestamp, &batch.body);
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(BATCH, &batch.id)
            .header(TIMESTAMP, timestamp)
            .header(SIGNATURE, signature)
            .body(batch.body.clone())
            .send()
            .await;
        let Ok(response) = response else {
            return Attempt::Failed;
        };
        match response.status() {
            status if status.is_success() => Attempt::Taken,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Attempt::Failed,
            status if status.is_server_error() => Attempt::Failed,
            _ => Attempt::Refused,
        }
    }
}
