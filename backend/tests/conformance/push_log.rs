//! What every push log does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use halley_backend::push_log::{Delivery, PublishError, PushLog, Subscription};
use halley_proto::goim::logic::PushMsg;
use tokio::time::timeout;

use super::served::Served;

/// One log, as its publishers and as its subscribers see it.
pub(crate) struct Logs {
    pub(crate) publisher: Arc<dyn PushLog>,
    pub(crate) subscriber: Arc<dyn PushLog>,
    pub(crate) _served: Option<Served>,
}

impl Logs {
    /// Publishes the numbers as messages of one room.
    pub(crate) async fn publish(&self, room: &str, numbers: std::ops::Range<usize>) {
        let records = numbers.map(|number| message(room, number)).collect();
        self.publisher.publish(records).await.unwrap();
    }

    pub(crate) async fn subscribe(&self) -> Box<dyn Subscription> {
        self.subscriber.subscribe().await.unwrap()
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn emptied(&self) {
        eventually(async || {
            self.publisher
                .depth()
                .is_none_or(|depth| depth.records == 0)
        })
        .await;
    }
}

pub(crate) fn message(room: &str, number: usize) -> PushMsg {
    PushMsg {
        r#type: 1,
        operation: 1000,
        room: room.to_owned(),
        msg: number.to_string().into(),
        ..PushMsg::default()
    }
}

pub(crate) fn number(delivery: &Delivery) -> usize {
    let text = std::str::from_utf8(&delivery.msg.msg).unwrap();
    text.parse().unwrap()
}

/// The next record, which must come.
pub(crate) async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    let next = timeout(Duration::from_secs(10), subscription.next());
    next.await.expect("a record in time").expect("not the end")
}

/// Waits for a condition that must come to hold.
pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), holds)
        .await
        .expect("in time");
}

pub(crate) async fn records_arrive_in_order_until_acknowledged(logs: Logs) {
    let mut subscription = logs.subscribe().await;
    logs.publish("a", 0..1000).await;

    for expected in 0..1000 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery), expected);
        delivery.ack.done();
    }

    logs.emptied().await;
    assert!(subscription.next().now_or_never().is_none());
}

pub(crate) async fn subscribers_share_without_overtaking(logs: Logs) {
    const ROOMS: usize = 20;
    const AT_ONCE: usize = 10;
    let mut first = logs.subscribe().await;
    let mut second = logs.subscribe().await;
    let mut seen: HashMap<String, Vec<usize>> = HashMap::new();
    let mut shares = [0, 0];
    let mut published = 0;

    // A subscription to another process takes its part when it has got there.
    while published < 100 || shares.contains(&0) {
        for number in published..published + AT_ONCE {
            let records = (0..ROOMS).map(|room| message(&room.to_string(), number));
            logs.publisher.publish(records.collect()).await.unwrap();
        }
        published += AT_ONCE;
        for _ in 0..ROOMS * AT_ONCE {
            let (share, delivery) = tokio::select! {
                delivery = next(&mut first) => (0, delivery),
                delivery = next(&mut second) => (1, delivery),
            };
            shares[share] += 1;
            let numbers = seen.entry(delivery.msg.room.clone()).or_default();
            numbers.push(number(&delivery));
            delivery.ack.done();
        }
        assert!(
            published < 100_000,
            "one subscriber gets nothing: {shares:?}"
        );
    }

    let expected: Vec<usize> = (0..published).collect();
    assert!(seen.values().all(|numbers| *numbers == expected));
    assert_eq!(seen.len(), ROOMS);
    logs.emptied().await;
}

pub(crate) async fn a_dropped_ack_is_delivered_again(logs: Logs) {
    let mut subscription = logs.subscribe().await;
    logs.publish("a", 0..3).await;
    next(&mut subscription).await.ack.done();

    drop(next(&mut subscription).await);

    let again = next(&mut subscription).await;
    assert_eq!(number(&again), 1);
    again.ack.done();
    let last = next(&mut subscription).await;
    assert_eq!(number(&last), 2);
    last.ack.done();
    logs.emptied().await;
}

pub(crate) async fn a_vanished_subscriber_leaves_all_in_place(logs: Logs) {
    let mut vanishing = logs.subscribe().await;
    logs.publish("a", 0..10).await;
    let mut taken = Vec::new();
    for _ in 0..5 {
        taken.push(next(&mut vanishing).await);
    }
    taken.remove(0).ack.done();

    drop(vanishing);
    drop(taken);
    let mut subscription = logs.subscribe().await;

    let mut left = Vec::new();
    while left.last() != Some(&9) {
        let delivery = next(&mut subscription).await;
        left.push(number(&delivery));
        delivery.ack.done();
    }
    // An acknowledgement may be lost with its subscriber, nothing else.
    left.retain(|number| *number != 0);
    assert_eq!(left, (1..10).collect::<Vec<_>>());
    logs.emptied().await;
}

pub(crate) async fn a_closed_log_gives_the_rest(logs: Logs) {
    logs.publish("a", 0..10).await;
    logs.publisher.close().await;
    let refused = logs.publisher.publish(vec![message("a", 10)]).await;
    assert!(matches!(refused, Err(PublishError::Closed)));

    let mut subscription = logs.subscribe().await;
    for expected in 0..10 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery), expected);
        delivery.ack.done();
    }
    logs.emptied().await;
}

pub(crate) async fn acknowledgements_made_before_close_count(logs: Logs) {
    let mut subscription = logs.subscribe().await;
    logs.publish("a", 0..2000).await;
    for _ in 0..2000 {
        next(&mut subscription).await.ack.done();
    }

    subscription.close().await;
    logs.publish("a", 2000..2001).await;

    let mut subscription = logs.subscribe().await;
    let first = next(&mut subscription).await;
    assert_eq!(number(&first), 2000, "the first unacknowledged");
}

pub(crate) async fn a_drained_subscription_ends(logs: Logs) {
    let mut draining = logs.subscribe().await;
    logs.publish("a", 0..10).await;
    let held = next(&mut draining).await;

    draining.drain();
    let mut taken = 1;
    while let Some(delivery) = draining.next().await {
        delivery.ack.done();
        taken += 1;
    }
    held.ack.done();
    draining.close().await;

    // What it did not take is somebody else's.
    let mut subscription = logs.subscribe().await;
    for expected in taken..10 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery), expected);
        delivery.ack.done();
    }
    logs.emptied().await;
}

pub(crate) async fn a_cancelled_next_takes_nothing(logs: Logs) {
    let mut subscription = logs.subscribe().await;
    for _ in 0..100 {
        assert!(subscription.next().now_or_never().is_none());
    }
    logs.publish("a", 0..200).await;

    let mut seen = Vec::new();
    while seen.len() < 200 {
        tokio::select! {
            biased;
            delivery = subscription.next() => {
                let delivery = delivery.unwrap();
                seen.push(number(&delivery));
                delivery.ack.done();
            }
            () = tokio::task::yield_now() => {}
        }
    }

    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}
