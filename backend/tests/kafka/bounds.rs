//! What is on its way has limits: in the producer's queue, in one record, in
//! what a subscription holds unacknowledged.

use std::time::Duration;

use futures_util::FutureExt as _;
use halley_backend::push_log::{PublishError, PushLog as _};
use halley_proto::goim::logic::PushMsg;

use super::support::{PATIENCE, eventually, log, message, messages, next, number};

const HELD_MAX: usize = 10;
const TOTAL: usize = 200;

#[tokio::test]
async fn a_subscriber_that_does_not_acknowledge_gets_no_more() {
    let log = log("unacknowledged", |config| {
        config.create_topic.partitions = 1;
        config.consumer.in_flight_records_max = HELD_MAX;
    });
    log.publish(messages("a", 0..TOTAL)).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..HELD_MAX {
        held.push(next(&mut subscription).await);
    }

    // Time enough to fetch everything.
    let more = tokio::time::timeout(Duration::from_secs(1), subscription.next());
    assert!(more.await.is_err(), "beyond the limit");
    assert_eq!(log.stats().read, HELD_MAX as u64);

    let mut expected = 0;
    while expected < TOTAL {
        let delivery = if held.is_empty() {
            next(&mut subscription).await
        } else {
            held.remove(0)
        };
        assert_eq!(number(&delivery.msg), expected);
        expected += 1;
        delivery.ack.done();
    }
    eventually("nothing in flight", async || {
        log.stats().in_flight_records == 0
    })
    .await;
}

#[tokio::test]
async fn a_subscription_is_bounded_by_bytes_too() {
    let log = log("bytes", |config| {
        config.create_topic.partitions = 1;
        config.consumer.in_flight_bytes_max = 10_000;
    });
    let large = |number: usize| PushMsg {
        room: "a".repeat(5_000),
        ..message("", number)
    };
    log.publish((0..10).map(large).collect()).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    let first = next(&mut subscription).await;
    next(&mut subscription).await.ack.done();

    assert!(log.stats().in_flight_bytes < 30_000);
    first.ack.done();
    for expected in 2..10 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery.msg), expected);
        delivery.ack.done();
    }
}

#[tokio::test]
async fn a_record_beyond_goims_limit_is_refused() {
    let log = log("large", |_| {});
    let push = |bytes: usize| PushMsg {
        msg: vec![b'x'; bytes].into(),
        ..message("a", 0)
    };

    let refused = log.publish(vec![push(2_000_000)]).await;
    assert!(matches!(
        refused,
        Err(PublishError::TooLarge { records: 1, .. })
    ));

    log.publish(vec![push(999_000)]).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    assert_eq!(next(&mut subscription).await.msg.msg.len(), 999_000);
}

#[tokio::test]
async fn a_full_queue_takes_nothing() {
    let log = log("full", |config| {
        config.producer.queue_records_max = 3;
        config.retry_after = Duration::from_secs(7);
    });
    log.publish(vec![message("a", 0)]).await.unwrap();
    let too_many = log.publish(messages("a", 0..4)).await;
    assert!(matches!(too_many, Err(PublishError::TooLarge { .. })));

    // Nothing else runs before this test waits.
    let mut two = Box::pin(log.publish(messages("a", 1..3)));
    assert!((&mut two).now_or_never().is_none());
    let refused = log.publish(messages("a", 3..5)).await;

    assert!(
        matches!(refused, Err(PublishError::Full { retry_after }) if retry_after.as_secs() == 7)
    );
    tokio::time::timeout(PATIENCE, two).await.unwrap().unwrap();
    log.publish(messages("a", 3..5)).await.unwrap();
}
