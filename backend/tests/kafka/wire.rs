//! What stands in the topic is what goim's logic would have written, where it
//! would have written it: other programs read it with Kafka's own client.

use std::sync::Arc;

use halley_backend::kafka::{CreateTopic, Producer, ProducerConfig, Record};
use halley_backend::push_log::{PushLog as _, partition};
use halley_proto::goim::logic::PushMsg;
use prost::Message as _;
use rdkafka::message::Message as _;
use serde_json::Value;

use super::support::{log, read, shared};

fn vectors(prefix: &str) -> Vec<(Vec<u8>, Value)> {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../wire/tests/goim-vectors.json")).unwrap();
    let named = vectors
        .into_iter()
        .filter(|vector| vector["name"].as_str().unwrap().starts_with(prefix));
    let bytes = |vector: &Value| hex::decode(vector["hex"].as_str().unwrap()).unwrap();
    named
        .map(|vector| (bytes(&vector), vector["decoded"].clone()))
        .collect()
}

#[tokio::test]
async fn records_equal_goims() {
    let vectors = vectors("kafka_pushmsg_");
    assert_eq!(vectors.len(), 3);
    let log = log("records", |_| {});
    for (bytes, _) in &vectors {
        let msg = PushMsg::decode(&bytes[..]).unwrap();
        log.publish(vec![msg]).await.unwrap();
    }

    let mut records = read("records", 3).await;

    records.sort_by_key(|record| record.timestamp().to_millis());
    for (bytes, decoded) in vectors {
        let key = decoded["kafka_key"].as_str().unwrap().as_bytes();
        let record = records
            .iter()
            .find(|record| record.key() == Some(key))
            .unwrap();
        assert_eq!(record.payload(), Some(&bytes[..]));
        assert!(record.headers().is_none());
    }
}

#[tokio::test]
async fn partitions_equal_goims() {
    let producer = Producer::new(&shared(), ProducerConfig::default()).unwrap();
    let mut keys: Vec<Vec<u8>> = vectors("kafka_partition:")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    // Not in the vectors: a push of no key.
    keys.push(Vec::new());
    for partitions in [3_u16, 8, 16] {
        let topic = format!("partitions-{partitions}");
        // Makes the topic.
        let log = log(&topic, |config| {
            config.create_topic = CreateTopic {
                partitions,
                ..CreateTopic::default()
            };
        });
        log.publish(vec![PushMsg::default()]).await.unwrap();
        let name = Arc::from(topic.as_str());
        for key in &keys {
            let record = Record {
                key: key.clone(),
                value: b"value".to_vec(),
                headers: None,
            };
            producer.send(&name, vec![record]).await.unwrap();
        }

        for record in read(&topic, keys.len() + 1).await {
            let key = record.key().unwrap();
            let expected = partition(key, u32::from(partitions));
            assert_eq!(
                record.partition(),
                i32::try_from(expected).unwrap(),
                "{key:?}"
            );
        }
    }
}
