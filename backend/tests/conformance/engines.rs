//! The engines of this test binary, which end with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use halley_backend::kafka::{Config, CreateTopic};
use halley_backend::push_log::{ConsumerConfig, KafkaConfig, KafkaPushLog};
use halley_engines::{Kafka, KafkaOptions};

use super::push_log::Logs;

fn kafka() -> Config {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    let kafka = KAFKA.get_or_init(|| Kafka::start(&KafkaOptions::default()).unwrap());
    Config {
        brokers: vec![kafka.brokers()],
        ..Config::default()
    }
}

/// A log in a topic of its own.
pub(crate) async fn kafka_logs() -> Logs {
    static TOPICS: AtomicUsize = AtomicUsize::new(0);
    let kafka = tokio::task::spawn_blocking(kafka).await.unwrap();
    let topic = format!("conformance-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
    let config = KafkaConfig {
        create_topic: CreateTopic {
            partitions: 8,
            ..CreateTopic::default()
        },
        consumer: ConsumerConfig {
            group: topic.clone(),
            heartbeat_interval: Duration::from_millis(200),
            ..ConsumerConfig::default()
        },
        topic,
        ..KafkaConfig::default()
    };
    let log = Arc::new(KafkaPushLog::new(kafka, config).unwrap());
    Logs {
        publisher: Arc::clone(&log) as _,
        subscriber: log,
        _served: None,
    }
}
