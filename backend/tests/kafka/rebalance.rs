//! Two and then three members share the topic under load, then one leaves:
//! every record is delivered, each key's for the first time in the order of
//! their publication, whatever protocol the members agree by.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halley_backend::push_log::{
    Assignment, GroupProtocol, KafkaConfig, KafkaPushLog, PushLog as _, Subscription,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::{PATIENCE, eventually, log, message, number};

const ROOMS: usize = 40;
const PARTITIONS: u16 = 12;

/// What was delivered, by room.
#[derive(Default)]
struct Seen {
    numbers: HashMap<String, Vec<usize>>,
    by_member: HashMap<usize, usize>,
    duplicates: usize,
    last: Option<Instant>,
    longest_pause: Duration,
}

impl Seen {
    fn add(&mut self, member: usize, room: &str, number: usize) {
        let now = Instant::now();
        let pause = self.last.replace(now).map(|last| now - last);
        self.longest_pause = self.longest_pause.max(pause.unwrap_or_default());
        *self.by_member.entry(member).or_default() += 1;
        let numbers = self.numbers.entry(room.to_owned()).or_default();
        if numbers.contains(&number) {
            self.duplicates += 1;
        } else {
            numbers.push(number);
        }
    }

    fn member_has(&self, member: usize, count: usize) -> bool {
        self.by_member.get(&member).is_some_and(|&had| had >= count)
    }
}

struct Group {
    log: Arc<KafkaPushLog>,
    seen: Arc<Mutex<Seen>>,
    tasks: TaskTracker,
}

impl Group {
    /// A member, which acknowledges a little later than it takes, and leaves
    /// when it is told to.
    async fn join(&self, member: usize) -> CancellationToken {
        let mut subscription: Box<dyn Subscription> = self.log.subscribe().await.unwrap();
        let seen = Arc::clone(&self.seen);
        let leave = CancellationToken::new();
        let told = leave.clone();
        let acks = TaskTracker::new();
        self.tasks.spawn(async move {
            loop {
                let delivery = tokio::select! {
                    delivery = subscription.next() => delivery,
                    () = told.cancelled() => None,
                };
                let Some(delivery) = delivery else {
                    break;
                };
                seen.lock()
                    .add(member, &delivery.msg.room, number(&delivery.msg));
                let late = Duration::from_millis(number(&delivery.msg) as u64 % 7);
                acks.spawn(async move {
                    tokio::time::sleep(late).await;
                    delivery.ack.done();
                });
            }
            subscription.drain();
            acks.close();
            acks.wait().await;
            subscription.close().await;
        });
        leave
    }

    async fn has(&self, member: usize) {
        let had = self.seen.lock().by_member.get(&member).copied();
        let more = had.unwrap_or(0) + 500;
        eventually("a share of the records", async || {
            self.seen.lock().member_has(member, more)
        })
        .await;
    }
}

/// Publishes to all rooms in turn until it is told to stop; the numbers that
/// each room got.
async fn publish(log: Arc<KafkaPushLog>, stop: CancellationToken) -> usize {
    let mut number = 0;
    while !stop.is_cancelled() {
        let records = (0..ROOMS).map(|room| message(&room.to_string(), number));
        log.publish(records.collect()).await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    number
}

async fn members_come_and_go(topic: &str, change: impl FnOnce(&mut KafkaConfig)) {
    let group = Group {
        log: Arc::new(log(topic, |config| {
            config.create_topic.partitions = PARTITIONS;
            change(config);
        })),
        seen: Arc::default(),
        tasks: TaskTracker::new(),
    };
    let stop = CancellationToken::new();
    let publishing = group
        .tasks
        .spawn(publish(Arc::clone(&group.log), stop.clone()));

    let first = group.join(1).await;
    group.has(1).await;
    let second = group.join(2).await;
    group.has(2).await;
    let third = group.join(3).await;
    group.has(3).await;
    first.cancel();
    group.has(2).await;
    group.has(3).await;
    stop.cancel();
    let published = publishing.await.unwrap();
    eventually("every record", async || {
        let seen = group.seen.lock();
        let count: usize = seen.numbers.values().map(Vec::len).sum();
        count == published * ROOMS
    })
    .await;
    second.cancel();
    third.cancel();
    group.tasks.close();
    let over = tokio::time::timeout(PATIENCE, group.tasks.wait());
    over.await.expect("all leave");

    let seen = group.seen.lock();
    let expected: Vec<usize> = (0..published).collect();
    for (room, numbers) in &seen.numbers {
        assert_eq!(*numbers, expected, "room {room}");
    }
    // Every member settles before it lets go.
    assert_eq!(seen.duplicates, 0);
    assert!(seen.longest_pause < Duration::from_secs(5));
}

#[tokio::test]
async fn cooperative() {
    members_come_and_go("cooperative", |_| {}).await;
}

#[tokio::test]
async fn eager() {
    members_come_and_go("eager", |config| {
        config.consumer.assignment = Assignment::Range;
    })
    .await;
}

#[tokio::test]
async fn decided_by_the_brokers() {
    members_come_and_go("brokers", |config| {
        config.consumer.group_protocol = GroupProtocol::Consumer;
    })
    .await;
}

#[tokio::test]
async fn a_member_without_a_partition_is_one_too() {
    for (topic, protocol) in [
        ("spare-classic", GroupProtocol::Classic),
        ("spare-consumer", GroupProtocol::Consumer),
    ] {
        let log = log(topic, |config| {
            config.create_topic.partitions = 1;
            config.consumer.group_protocol = protocol;
        });
        let first = log.subscribe().await.unwrap();
        let start = Instant::now();

        let second = log.subscribe().await.unwrap();

        assert!(start.elapsed() < Duration::from_secs(10), "{protocol:?}");
        first.close().await;
        second.close().await;
    }
}
