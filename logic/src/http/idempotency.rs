//! `Idempotency-Key`: a push that is repeated under its key is answered as it
//! was the first time, and not done again.
//!
//! Only success is remembered: a push that failed may be tried again under the
//! same key. A push under a key is seen through although its client has left:
//! most repetitions come from clients that did not wait for the answer.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use halley_backend::dedup::{self, Begun};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Answer, envelope};
use crate::core::Core;
use crate::push::PushError;

/// The header that carries the key.
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY_BYTES_MAX: usize = 255;
/// Seconds after which the window may be there again.
const RETRY_AFTER_S: u64 = 1;

/// What a request asks for, so that another one under its key is noticed.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// The claim of a request on its key.
pub(super) struct Claim {
    inner: dedup::Claim,
    digest: Digest,
}

/// A request under a key.
pub(super) enum Checked {
    /// It has no key, or is the first under it.
    Do(Option<Claim>),
    /// It is answered.
    Answered(Answer),
}

/// Looks at the key in `headers`; `parts` say what the request asks for.
pub(super) async fn check(core: &Core, headers: &HeaderMap, parts: &[&[u8]]) -> Checked {
    let Some(value) = headers.get(HEADER) else {
        return Checked::Do(None);
    };
    let key = match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => key.to_owned(),
        _ => {
            let text = format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible characters");
            return Checked::Answered(envelope::refused(StatusCode::BAD_REQUEST, &text));
        }
    };
    let claim = Claim {
        inner: dedup::Claim::new(key),
        digest: digest(parts),
    };
    match core.dedup.begin(&claim.inner).await {
        Ok(Begun::First) => Checked::Do(Some(claim)),
        Ok(Begun::InProgress) => Checked::Answered(envelope::refused(
            StatusCode::CONFLICT,
            "a request with this Idempotency-Key is under way",
        )),
        Ok(Begun::Done(stored)) => Checked::Answered(claim.replay(&stored)),
        Err(error) => Checked::Answered(envelope::unavailable(&error.to_string(), RETRY_AFTER_S)),
    }
}

impl Claim {
    /// Does `push`, which makes the body of an answer of success, and remembers
    /// how it ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the push goes on, and `under_way` lives as long.
    pub(super) async fn settle(
        self,
        core: Arc<Core>,
        under_way: TaskTrackerToken,
        push: impl Future<Output = Result<Bytes, PushError>> + Send + 'static,
    ) -> Result<Bytes, PushError> {
        let settling = TaskTracker::new().spawn(async move {
            let _under_way = under_way;
            let result = push.await;
            match &result {
                Ok(body) => self.finish(&core, body).await,
                Err(_) => self.abandon(&core).await,
            }
            result
        });
        settling
            .await
            .unwrap_or_else(|error| Err(PushError::Unavailable(error.to_string())))
    }

    async fn finish(&self, core: &Core, body: &[u8]) {
        let stored: Bytes = [&self.digest, body].concat().into();
        if let Err(error) = core.dedup.finish(&self.inner, stored).await {
            tracing::warn!(%error, "an answered push could be done twice");
        }
    }

    async fn abandon(&self, core: &Core) {
        // Otherwise the claim ends by itself.
        let _ = core.dedup.abandon(&self.inner).await;
    }

    fn replay(&self, stored: &Bytes) -> Answer {
        if stored.get(..SHA256_OUTPUT_LEN) != Some(&self.digest) {
            return envelope::refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for another request",
            );
        }
        let mut response = envelope::succeeded(stored.slice(SHA256_OUTPUT_LEN..));
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        // With its length, so that parts cannot run into one another.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
