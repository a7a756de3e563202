//! One broker for all tests of this binary, a topic for each.

use std::sync::OnceLock;
use std::time::Duration;

use halley_backend::kafka::{Config, CreateTopic};
use halley_backend::push_log::{ConsumerConfig, Delivery, KafkaConfig, KafkaPushLog, Subscription};
use halley_engines::{Kafka, KafkaOptions};
use halley_proto::goim::logic::PushMsg;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::time::timeout;

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The broker that all share.
pub(super) fn shared() -> Config {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    let kafka = KAFKA.get_or_init(|| Kafka::start(&KafkaOptions::default()).unwrap());
    at(kafka)
}

pub(super) fn at(kafka: &Kafka) -> Config {
    Config {
        brokers: kafka.brokers().split(',').map(str::to_owned).collect(),
        ..Config::default()
    }
}

/// A log in `topic`, with a group of the same name.
pub(super) fn config(topic: &str) -> KafkaConfig {
    KafkaConfig {
        topic: topic.to_owned(),
        create_topic: CreateTopic {
            partitions: 4,
            ..CreateTopic::default()
        },
        consumer: ConsumerConfig {
            group: topic.to_owned(),
            heartbeat_interval: Duration::from_millis(200),
            ..ConsumerConfig::default()
        },
        ..KafkaConfig::default()
    }
}

pub(super) fn log(topic: &str, change: impl FnOnce(&mut KafkaConfig)) -> KafkaPushLog {
    let mut config = config(topic);
    change(&mut config);
    KafkaPushLog::new(shared(), config).unwrap()
}

pub(super) fn message(room: &str, number: usize) -> PushMsg {
    PushMsg {
        r#type: 1,
        operation: 1000,
        room: room.to_owned(),
        msg: number.to_string().into(),
        ..PushMsg::default()
    }
}

pub(super) fn messages(room: &str, numbers: std::ops::Range<usize>) -> Vec<PushMsg> {
    numbers.map(|number| message(room, number)).collect()
}

pub(super) fn number(msg: &PushMsg) -> usize {
    std::str::from_utf8(&msg.msg).unwrap().parse().unwrap()
}

/// The next record, which must come.
pub(super) async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    let next = timeout(PATIENCE, subscription.next());
    next.await.expect("a record in time").expect("not the end")
}

/// Waits for a condition that must come to hold.
pub(super) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, holds).await.expect(what);
}

/// Puts any bytes into a topic.
pub(super) async fn put(topic: &str, key: &str, value: &[u8]) {
    let producer: FutureProducer = client().create().unwrap();
    let record = FutureRecord::to(topic).key(key).payload(value);
    producer.send(record, PATIENCE).await.unwrap();
}

/// The first `count` records of a topic, whatever they are.
pub(super) async fn read(topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = client()
        .set("group.id", format!("reader-of-{topic}"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut records = Vec::new();
        while records.len() < count {
            if let Some(Ok(message)) = consumer.poll(PATIENCE) {
                records.push(message.detach());
            }
        }
        records
    });
    timeout(PATIENCE, read).await.expect("records").unwrap()
}

pub(super) fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", shared().brokers.join(","));
    config
}
