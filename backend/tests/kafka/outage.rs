//! The only broker is killed and started again: what cannot be taken is refused
//! in time, what was taken is delivered, and both sides go on by themselves.

use std::time::{Duration, Instant};

use halley_backend::push_log::{KafkaPushLog, PublishError, PushLog as _};
use halley_engines::{Kafka, KafkaOptions};

use super::support::{PATIENCE, at, config, eventually, message, messages, next, number};

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_broker_that_is_away_costs_nothing_accepted() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let mut config = config("outage");
    config.producer.delivery_timeout = DELIVERY_TIMEOUT;
    let log = KafkaPushLog::new(at(&kafka), config).unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    log.publish(messages("a", 0..100)).await.unwrap();
    for expected in 0..50 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery.msg), expected);
        delivery.ack.done();
    }

    kafka.kill(0);
    let start = Instant::now();
    let refused = log.publish(vec![message("b", 0)]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))));
    assert!(start.elapsed() < DELIVERY_TIMEOUT + Duration::from_secs(1));
    kafka.restart(0).unwrap();

    // It is back when a push is taken.
    eventually("taken again", async || {
        log.publish(vec![message("c", 0)]).await.is_ok()
    })
    .await;
    log.publish(vec![message("a", 100)]).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.last() != Some(&100) {
        let delivery = next(&mut subscription).await;
        if delivery.msg.room == "a" {
            numbers.push(number(&delivery.msg));
        }
        delivery.ack.done();
    }
    numbers.sort_unstable();
    numbers.dedup();
    let missing: Vec<usize> = (50..=100).filter(|n| !numbers.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_log_may_be_made_before_its_broker_is_there() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    kafka.kill(0);
    let mut config = config("early");
    config.producer.delivery_timeout = DELIVERY_TIMEOUT;
    let log = KafkaPushLog::new(at(&kafka), config).unwrap();
    let start = Instant::now();
    let refused = log.publish(vec![message("a", 0)]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))));
    assert!(start.elapsed() < DELIVERY_TIMEOUT + Duration::from_secs(1));

    kafka.restart(0).unwrap();

    eventually("taken", async || {
        log.publish(vec![message("a", 1)]).await.is_ok()
    })
    .await;
    let mut subscription = log.subscribe().await.unwrap();
    next(&mut subscription).await.ack.done();
    let closed = tokio::time::timeout(PATIENCE, subscription.close());
    closed.await.unwrap();
}
