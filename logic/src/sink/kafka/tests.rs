use std::sync::Arc;

use bytes::Bytes;
use halley_engines::{Kafka, KafkaOptions};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{SinkConfig, SinkMode};
use crate::sink::Sink;
use crate::testing::Measured;

const TOPIC: &str = "upstream";
const READ_TIMEOUT: Duration = Duration::from_secs(30);

fn read(brokers: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let start = std::time::Instant::now();
    let mut records = Vec::new();
    while records.len() < count {
        assert!(start.elapsed() < READ_TIMEOUT, "{} records", records.len());
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            records.push(message.detach());
        }
    }
    records
}

fn sink(kafka: &Kafka, delivery_timeout: Duration) -> (Sink, Measured) {
    let mut config = SinkConfig {
        mode: SinkMode::Kafka,
        ..SinkConfig::default()
    };
    config.kafka.topic = TOPIC.to_owned();
    config.kafka.delivery_timeout = delivery_timeout;
    config.kafka.batch_messages_max = 3;
    let kafka = kafka::Config {
        brokers: vec![kafka.brokers()],
        ..kafka::Config::default()
    };
    let measured = Measured::new();
    let sink = Sink::new(&config, Some(&kafka), Arc::clone(&measured.metrics)).unwrap();
    (sink, measured)
}

fn count(measured: &Measured, outcome: &str) -> u64 {
    measured.value(&format!(
        "halley_logic_sink_messages_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn messages_are_written_as_comet_called() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let message = |seq: i32| Message {
        mid: 1_234_567,
        op: 4,
        seq,
        ver: 1,
        body: Bytes::from_static(b"\xff\0hi"),
    };
    let (drain, now) = (CancellationToken::new(), CancellationToken::new());
    let (sink, measured) = sink(&kafka, READ_TIMEOUT);
    for seq in 0..10 {
        sink.push(message(seq));
    }
    drain.cancel();

    sink.run(&drain, &now).await;

    assert_eq!(count(&measured, "sent"), 10);
    for (record, seq) in read(&kafka.brokers(), 10).iter().zip(0..) {
        assert_eq!(record.key(), Some(&b"1234567"[..]));
        let request = ReceiveReq::decode(record.payload().unwrap()).unwrap();
        assert_eq!(request.mid, 1_234_567);
        let proto = request.proto.unwrap();
        assert_eq!((proto.op, proto.seq, proto.ver), (4, seq, 1));
        assert_eq!(&proto.body[..], b"\xff\0hi");
    }

    kafka.kill(0);
    let (sink, measured) = self::sink(&kafka, Duration::from_millis(500));
    for seq in 0..4 {
        sink.push(message(seq));
    }
    let outcome = sink.run(&drain, &now).await;
    assert_eq!(outcome.forced, 4);
    assert_eq!(count(&measured, "dropped_failed"), 4);
}
