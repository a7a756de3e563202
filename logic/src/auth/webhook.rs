//! Asks another service who a client is.
//!
//! The service gets a POST with `{"server", "token", "cookie"}`, the token in
//! base64. It answers 200 with `{"mid", "key", "room_id", "accepts", "rooms",
//! "ops", "expires_ms"}`, all optional but `mid`, or any 4xx but 408 and 429 to
//! refuse. Anything else is a failure of the service: logins fail, and after
//! several such failures in a row they fail at once for a while.

mod answers;

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use halley_node::breaker::{Breaker, Change, Limits};
use halley_node::budget::Budget;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use self::answers::{Answer, Answers};
use super::grant::Allowed;
use super::{AuthError, Credentials, Identity, Key};
use crate::config::WebhookConfig;
use crate::metrics::{AttemptOutcome, Metrics};
use crate::outbound;

/// Asks another service.
#[derive(Debug)]
pub(crate) struct Webhook {
    client: Client,
    url: Url,
    config: WebhookConfig,
    answers: Answers,
    breaker: Arc<Breaker>,
    budget: Budget,
    permits: Semaphore,
    metrics: Arc<Metrics>,
}

#[derive(Serialize)]
struct Question<'a> {
    server: &'a str,
    token: String,
    cookie: &'a str,
}

#[derive(Deserialize)]
struct Said {
    /// Required: an object that is something else, such as an error in an
    /// envelope, must not pass for a client who is anonymous.
    mid: i64,
    #[serde(default)]
    key: String,
    #[serde(default)]
    room_id: String,
    #[serde(default)]
    accepts: Vec<i32>,
    rooms: Option<Vec<String>>,
    ops: Option<Vec<i32>>,
    #[serde(default)]
    expires_ms: i64,
}

/// How one request ended without an answer that counts.
#[derive(Clone, Copy)]
struct Failure {
    outcome: AttemptOutcome,
    is_worth_another: bool,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let url: Url = config.url.parse()?;
        Ok(Self {
            client: outbound::client(&url, config.timeout)?,
            url,
            answers: Answers::new(config),
            breaker: Breaker::new(Limits {
                failures_max: config.breaker_failures_max,
                open_min: config.breaker_open,
                open_max: config.breaker_open,
                probes_max: config.breaker_probes_max,
            }),
            budget: Budget::new(config.retry_percent_max, config.retries_min),
            permits: Semaphore::new(config.concurrent_max.min(Semaphore::MAX_PERMITS)),
            config: config.clone(),
            metrics,
        })
    }

    pub(super) async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Identity, AuthError> {
        let answer = self.answers.get(credentials, self.ask(credentials)).await?;
        match answer {
            // A fresh key stays a prefix until here, so that those who share
            // an answer do not share a key.
            Ok(identity) => Ok(Identity::clone(&identity)),
            Err(reason) => Err(AuthError::Refused(reason)),
        }
    }

    /// Asks the service, several times if need be.
    async fn ask(&self, credentials: Credentials<'_>) -> Result<Answer, AuthError> {
        let _permit = self
            .permits
            .try_acquire()
            .map_err(|_| AuthError::Unavailable("too many logins at a time"))?;
        let question = Question {
            server: credentials.server,
            token: BASE64_STANDARD.encode(credentials.token),
            cookie: credentials.cookie,
        };
        let question: Bytes = serde_json::to_vec(&question)
            .map_err(|_| AuthError::Malformed("cannot be written as json"))?
            .into();
        let mut failures = 0;
        self.budget.call();
        loop {
            let permit = self
                .breaker
                .admit(Instant::now())
                .ok_or(AuthError::Unavailable("service fails and is left alone"))?;
            let result = self.attempt(question.clone()).await;
            self.metrics.webhook_attempt(match &result {
                Ok(Ok(_)) => AttemptOutcome::Accepted,
                Ok(Err(_)) => AttemptOutcome::Refused,
                Err(failure) => failure.outcome,
            });
            let failure = match result {
                Ok(answer) => {
                    report(permit.success());
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            report(permit.failure(Instant::now()));
            failures += 1;
            let may_retry = failure.is_worth_another && failures <= self.config.retries_max;
            if !may_retry || !self.budget.take() {
                return Err(AuthError::Unavailable(failure.text()));
            }
            sleep(self.config.backoff.pause(failures)).await;
        }
    }

    async fn attempt(&self, question: Bytes) -> Result<Answer, Failure> {
        let response = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(question)
            .send()
            .await
            .map_err(|error| Failure::of_error(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::new(AttemptOutcome::Failed, false));
            }
            status if status.is_client_error() => {
                return Ok(Err("authentication service refuses it"));
            }
            status => {
                return Err(if status.is_server_error() {
                    Failure::new(AttemptOutcome::Failed, true)
                } else {
                    Failure::new(AttemptOutcome::Invalid, false)
                });
            }
        }
        let body = outbound::body(response, self.config.answer_bytes_max)
            .await
            .map_err(|error| Failure::of_error(&error))?;
        body.and_then(|body| Said::parse(&body))
            .map(|said| Ok(Arc::new(said.into_identity())))
            .ok_or(Failure::new(AttemptOutcome::Invalid, false))
    }
}

fn report(change: Change) {
    match change {
        Change::None => {}
        Change::Closed => tracing::info!("authentication service works again"),
        Change::Opened(open) => tracing::error!(
            open_ms = u64::try_from(open.as_millis()).unwrap_or(u64::MAX),
            "authentication service fails and is left alone: logins are refused"
        ),
    }
}

impl Failure {
    fn new(outcome: AttemptOutcome, is_worth_another: bool) -> Self {
        Self {
            outcome,
            is_worth_another,
        }
    }

    fn of_error(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            // The deadline is spent, and a slow service is not helped by more.
            Self::new(AttemptOutcome::Timeout, false)
        } else {
            Self::new(AttemptOutcome::Unreachable, error.is_connect())
        }
    }

    fn text(self) -> &'static str {
        match self.outcome {
            AttemptOutcome::Timeout => "service does not answer in time",
            AttemptOutcome::Unreachable => "service cannot be reached",
            AttemptOutcome::Invalid => "service gives no valid answer",
            AttemptOutcome::Accepted | AttemptOutcome::Refused | AttemptOutcome::Failed => {
                "service fails"
            }
        }
    }
}

impl Said {
    fn parse(body: &[u8]) -> Option<Self> {
        // On its own, a struct would be read from a list as well.
        let object: Map<String, Value> = serde_json::from_slice(body).ok()?;
        serde_json::from_value(Value::Object(object)).ok()
    }

    fn into_identity(self) -> Identity {
        let mut allowed = Allowed {
            rooms: self.rooms,
            ops: self.ops,
            expires_ms: self.expires_ms,
        };
        if !self.room_id.is_empty() {
            allowed.add_room(&self.room_id);
        }
        let mut accepts = self.accepts;
        accepts.retain(|&op| allowed.op(op));
        Identity {
            mid: self.mid,
            key: if self.key.is_empty() {
                Key::Fresh(String::new())
            } else {
                Key::Given(self.key)
            },
            room_id: self.room_id,
            accepts,
            grant: allowed.into_grant(),
        }
    }
}

#[cfg(test)]
mod tests;
