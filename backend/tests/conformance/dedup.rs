//! What every idempotency window does.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use halley_backend::dedup::{Begun, Dedup, DedupConfig, RedisDedup};
use halley_backend::redis::{Config, Redis};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Times that a test can wait for.
pub(crate) fn config() -> DedupConfig {
    DedupConfig {
        window: Duration::from_millis(300),
        claim: Duration::from_millis(300),
        ..DedupConfig::default()
    }
}

pub(crate) async fn redis() -> RedisDedup {
    static REDIS: OnceLock<halley_engines::Redis> = OnceLock::new();
    let start = || REDIS.get_or_init(|| halley_engines::Redis::start().unwrap());
    let engine = tokio::task::spawn_blocking(start).await.unwrap();
    let config = Config {
        urls: [engine.url()].into_iter().collect(),
        ..Config::default()
    };
    RedisDedup::new(Redis::new(&config).unwrap(), self::config())
}

pub(crate) async fn an_answer_is_given_again(dedup: impl Dedup) {
    let answer = Bytes::from_static(b"\0done\xff");
    assert_eq!(dedup.begin("answered").await, Ok(Begun::First));
    dedup.finish("answered", answer.clone()).await.unwrap();

    assert_eq!(dedup.begin("answered").await, Ok(Begun::Done(answer)));
    assert_eq!(dedup.begin("other").await, Ok(Begun::First));
}

pub(crate) async fn one_claims_at_a_time(dedup: impl Dedup) {
    assert_eq!(dedup.begin("claimed").await, Ok(Begun::First));
    assert_eq!(dedup.begin("claimed").await, Ok(Begun::InProgress));

    dedup.abandon("claimed").await.unwrap();
    assert_eq!(dedup.begin("claimed").await, Ok(Begun::First));
}

pub(crate) async fn claims_and_answers_end(dedup: impl Dedup) {
    dedup.begin("lost").await.unwrap();
    again(&dedup, "lost").await;

    dedup.begin("old").await.unwrap();
    dedup.finish("old", Bytes::new()).await.unwrap();
    assert_eq!(dedup.begin("old").await, Ok(Begun::Done(Bytes::new())));
    again(&dedup, "old").await;
}

/// Waits until the key can be claimed.
async fn again(dedup: &impl Dedup, key: &str) {
    let until = Instant::now() + PATIENCE;
    while dedup.begin(key).await != Ok(Begun::First) {
        assert!(Instant::now() < until, "{key} is never forgotten");
        sleep(LOOK_AGAIN).await;
    }
}
