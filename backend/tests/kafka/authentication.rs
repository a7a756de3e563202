//! Properties reach every client that the log makes: with a password the topic
//! is created, written and read, with a wrong one nothing is.

use std::time::Duration;

use halley_backend::kafka::{Config, Properties};
use halley_backend::push_log::{KafkaPushLog, PublishError, PushLog as _};
use halley_engines::{Kafka, KafkaOptions};

use super::support::{PATIENCE, config, message, next, number};

pub(super) const USER: &str = "halley";
pub(super) const PASSWORD: &str = "correct";

#[tokio::test]
async fn passwords_are_shown_to_the_broker() {
    let kafka = start(KafkaOptions::default());
    let properties = |password| login("SASL_PLAINTEXT", "PLAIN", password);

    refuses(&kafka, properties("wrong")).await;
    carries(&kafka, "passwords", properties(PASSWORD)).await;
}

/// A broker that knows the user.
pub(super) fn start(options: KafkaOptions) -> Kafka {
    Kafka::start(&KafkaOptions {
        user: Some((USER.to_owned(), PASSWORD.to_owned())),
        ..options
    })
    .unwrap()
}

pub(super) fn login(protocol: &str, mechanism: &str, password: &str) -> Properties {
    let properties = [
        ("security.protocol", protocol),
        ("sasl.mechanism", mechanism),
        ("sasl.username", USER),
        ("sasl.password", password),
    ];
    properties.into_iter().collect()
}

/// Nothing can be published with these properties.
pub(super) async fn refuses(kafka: &Kafka, properties: Properties) {
    let in_vain = Duration::from_secs(3);
    let log = log(kafka, "refused", properties, in_vain);
    let refused = log.publish(vec![message("a", 0)]).await;

    assert!(matches!(refused, Err(PublishError::Unavailable(_))));
}

/// What is published with these properties comes.
pub(super) async fn carries(kafka: &Kafka, topic: &str, properties: Properties) {
    let log = log(kafka, topic, properties, PATIENCE);
    log.publish(vec![message("a", 1)]).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();

    assert_eq!(number(&next(&mut subscription).await.msg), 1);
}

fn log(kafka: &Kafka, topic: &str, properties: Properties, timeout: Duration) -> KafkaPushLog {
    let kafka = Config {
        brokers: vec![kafka.authenticated_brokers()],
        properties,
    };
    let mut config = config(topic);
    config.producer.delivery_timeout = timeout;
    KafkaPushLog::new(kafka, config).unwrap()
}
