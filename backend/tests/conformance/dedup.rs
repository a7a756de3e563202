//! What every idempotency window does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_backend::dedup::{Begun, Claim, Dedup, DedupConfig};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Times that a test can wait for.
pub(crate) fn config() -> DedupConfig {
    DedupConfig {
        window: Duration::from_secs(1),
        claim: Duration::from_secs(1),
        ..DedupConfig::default()
    }
}

fn claim(key: &str) -> Claim {
    Claim::new(key.to_owned())
}

pub(crate) async fn an_answer_is_given_again(dedup: Arc<dyn Dedup>) {
    let answer = Bytes::from_static(b"\0done\xff");
    let first = claim("answered");
    assert_eq!(dedup.begin(&first).await, Ok(Begun::First));
    dedup.finish(&first, answer.clone()).await.unwrap();

    let done = Ok(Begun::Done(answer));
    assert_eq!(dedup.begin(&claim("answered")).await, done);
    assert_eq!(dedup.begin(&first).await, done);
    assert_eq!(dedup.begin(&claim("other")).await, Ok(Begun::First));
}

pub(crate) async fn one_claims_at_a_time(dedup: Arc<dyn Dedup>) {
    let (first, second) = (claim("claimed"), claim("claimed"));
    assert_eq!(dedup.begin(&first).await, Ok(Begun::First));
    assert_eq!(dedup.begin(&second).await, Ok(Begun::InProgress));
    assert_eq!(dedup.begin(&first).await, Ok(Begun::First), "asked again");

    dedup.abandon(&second).await.unwrap();
    assert_eq!(dedup.begin(&second).await, Ok(Begun::InProgress));
    dedup.abandon(&first).await.unwrap();
    assert_eq!(dedup.begin(&second).await, Ok(Begun::First));
}

pub(crate) async fn a_claim_that_ended_takes_nothing_from_the_next(dedup: Arc<dyn Dedup>) {
    let late = claim("lost");
    dedup.begin(&late).await.unwrap();
    let next = again(&*dedup, "lost").await;

    dedup.abandon(&late).await.unwrap();
    dedup
        .finish(&late, Bytes::from_static(b"late"))
        .await
        .unwrap();
    let answer = Bytes::from_static(b"next");
    dedup.finish(&next, answer.clone()).await.unwrap();

    assert_eq!(dedup.begin(&claim("lost")).await, Ok(Begun::Done(answer)));
}

pub(crate) async fn answers_end(dedup: Arc<dyn Dedup>) {
    let old = claim("old");
    dedup.begin(&old).await.unwrap();
    dedup.finish(&old, Bytes::new()).await.unwrap();
    assert_eq!(dedup.begin(&old).await, Ok(Begun::Done(Bytes::new())));

    again(&*dedup, "old").await;
}

/// Waits until the key can be claimed.
async fn again(dedup: &dyn Dedup, key: &str) -> Claim {
    let until = Instant::now() + PATIENCE;
    let claim = claim(key);
    while dedup.begin(&claim).await != Ok(Begun::First) {
        assert!(Instant::now() < until, "{key} is never forgotten");
        sleep(LOOK_AGAIN).await;
    }
    claim
}
