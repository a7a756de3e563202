//! Records that nobody can deliver, between good ones.

use std::time::{Duration, Instant};

use halley_client::Transport;
use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;
use halley_tests::cluster::Cluster;
use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::support::{Client, PATIENCE, found, push};

const TOPIC: &str = "goim-push-topic";
const DEAD_TOPIC: &str = "goim-push-topic.dead";
/// One key, so that all are in one partition.
const KEY: &str = "behind";
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) async fn what_cannot_be_delivered_is_counted_and_passed_over(cluster: &mut Cluster) {
    let user = (55, KEY, "live://behind");
    let mut client = Client::log_in(Transport::Tcp, cluster.comets[0].tcp, user).await;
    let mut expected = Vec::new();
    for (metric, label, more) in [
        ("halley_job_push_outcomes_total", r#"reason="malformed""#, 1),
        (
            "halley_job_push_outcomes_total",
            r#"reason="unknown_server""#,
            1,
        ),
        ("halley_kafka_dead_letters_total", "", 2),
    ] {
        expected.push((metric, label, counted(cluster, metric, label).await + more));
    }
    let good = PushMsg {
        r#type: Type::Push.into(),
        operation: 1000,
        server: "comet-1".to_owned(),
        keys: vec![KEY.to_owned()],
        msg: "good".into(),
        ..PushMsg::default()
    };
    let unknown_type = PushMsg {
        r#type: 7,
        ..good.clone()
    };
    let unknown_server = PushMsg {
        server: "nobody".to_owned(),
        ..good.clone()
    };
    // Field 5, the room, of two bytes that are no UTF-8.
    let room_no_text = [b"\x08\x01\x10\xe8\x07\x2a\x02\xff\xfe".as_slice()].concat();

    send(cluster, &[0xff; 16]).await;
    send(cluster, &unknown_type.encode_to_vec()).await;
    send(cluster, &unknown_server.encode_to_vec()).await;
    send(cluster, &room_no_text).await;
    send(cluster, &good.encode_to_vec()).await;

    assert_eq!(client.message().await, "good");
    for (metric, label, count) in expected {
        found(&format!("{count} {metric} {label}"), async || {
            (counted(cluster, metric, label).await == count).then_some(())
        })
        .await;
    }
    let dead = dead_letters(cluster, 2);
    assert_eq!(dead[0].0, [0xff; 16]);
    assert_eq!(dead[1].0, room_no_text);
    assert!(
        dead.iter().all(|(_, reason)| !reason.is_empty()),
        "{dead:?}"
    );
}

pub(crate) async fn a_message_of_two_megabytes_is_refused(cluster: &mut Cluster) {
    let user = (56, "large", "live://large");
    let mut client = Client::log_in(Transport::Tcp, cluster.comets[0].tcp, user).await;
    let http = cluster.logics[0].http;

    let answer = push(http, "keys?keys=large", vec![b'x'; 2 << 20]).await;

    assert_eq!(answer.status, 413, "{answer:?}");
    push(http, "keys?keys=large", "after").await;
    assert_eq!(client.message().await, "after");
}

async fn send(cluster: &Cluster, value: &[u8]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.kafka.brokers())
        .set("partitioner", "fnv1a")
        .create()
        .expect("a producer");
    let record = FutureRecord::to(TOPIC).key(KEY).payload(value);
    producer.send(record, PATIENCE).await.expect("sent");
}

/// What the jobs count of a metric's samples with this label.
async fn counted(cluster: &Cluster, metric: &str, label: &str) -> u64 {
    let mut sum = 0;
    for job in &cluster.jobs {
        let samples = job.metrics().await.expect("metrics");
        sum += samples.sum(metric, &[label]);
    }
    sum
}

/// The first `count` records of the dead-letter topic, with their reasons.
fn dead_letters(cluster: &Cluster, count: usize) -> Vec<(Vec<u8>, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.kafka.brokers())
        .set("group.id", "who-looks-at-the-dead")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[DEAD_TOPIC]).expect("subscribed");
    let started = Instant::now();
    let mut dead = Vec::new();
    while dead.len() < count {
        assert!(started.elapsed() < PATIENCE, "dead letters in time");
        // The topic may be younger than the consumer's knowledge of it.
        let Some(Ok(record)) = consumer.poll(LOOK_AGAIN) else {
            continue;
        };
        let headers = record.headers().expect("headers");
        let reason = headers
            .iter()
            .find(|header| header.key == "halley-reason")
            .and_then(|header| header.value)
            .map(|value| String::from_utf8_lossy(value).into_owned());
        let payload = record.payload().expect("a value").to_vec();
        dead.push((payload, reason.expect("a reason")));
    }
    dead
}
