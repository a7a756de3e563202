//! Answers of the authentication service, remembered for a short time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use moka::Expiry;
use moka::future::Cache;

use super::super::{AuthError, Credentials, Identity};
use crate::config::WebhookConfig;

/// What the service said of a token: an identity, or why there is none.
pub(super) type Answer = Result<Arc<Identity>, &'static str>;

/// The short memory. Callers who ask the same at the same time share one
/// request, also when nothing is remembered.
#[derive(Debug)]
pub(super) struct Answers(Cache<[u8; 32], Answer>);

impl Answers {
    pub(super) fn new(config: &WebhookConfig) -> Self {
        let ages = Ages {
            identity: config.cache_ttl,
            refusal: config.refusal_ttl,
        };
        Self(
            Cache::builder()
                .max_capacity(config.cache_entries_max)
                .expire_after(ages)
                .build(),
        )
    }

    /// The remembered answer, or the one that `ask` gets. An error is not
    /// remembered.
    pub(super) async fn get(
        &self,
        credentials: Credentials<'_>,
        ask: impl Future<Output = Result<Answer, AuthError>>,
    ) -> Result<Answer, AuthError> {
        self.0
            .try_get_with(digest(credentials), ask)
            .await
            .map_err(|error| *error)
    }
}

/// Stands for token and cookie, without being them.
fn digest(credentials: Credentials<'_>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&(credentials.token.len() as u64).to_be_bytes());
    context.update(credentials.token);
    context.update(credentials.cookie.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

struct Ages {
    identity: Duration,
    refusal: Duration,
}

impl Expiry<[u8; 32], Answer> for Ages {
    fn expire_after_create(&self, _: &[u8; 32], answer: &Answer, _: Instant) -> Option<Duration> {
        Some(match answer {
            Ok(identity) => self.identity.min(validity(identity)),
            Err(_) => self.refusal,
        })
    }
}

/// How long the identity itself still holds.
fn validity(identity: &Identity) -> Duration {
    let expires_ms = identity.grant.as_ref().map_or(0, |grant| grant.expires_ms);
    if expires_ms == 0 {
        return Duration::MAX;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_millis(u64::try_from(expires_ms).unwrap_or(0)).saturating_sub(now)
}
