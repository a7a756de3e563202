//! Properties reach every client that the log makes: with a password the topic
//! is created, written and read, with a wrong one nothing is.

use std::time::Duration;

use halley_backend::kafka::{Config, Properties};
use halley_backend::push_log::{KafkaPushLog, PublishError, PushLog as _};
use halley_engines::{Kafka, KafkaOptions};

use super::support::{config, message, next, number};

const USER: &str = "halley";
const PASSWORD: &str = "correct";

fn login(password: &str) -> Properties {
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", USER),
        ("sasl.password", password),
    ];
    properties.into_iter().collect()
}

#[tokio::test]
async fn passwords_are_shown_to_the_broker() {
    let kafka = Kafka::start(&KafkaOptions {
        user: Some((USER.to_owned(), PASSWORD.to_owned())),
        ..KafkaOptions::default()
    })
    .unwrap();
    let log = |password| {
        let kafka = Config {
            brokers: vec![kafka.authenticated_brokers()],
            properties: login(password),
        };
        let mut config = config("authentication");
        config.producer.delivery_timeout = Duration::from_secs(3);
        KafkaPushLog::new(kafka, config).unwrap()
    };

    let refused = log("wrong").publish(vec![message("a", 0)]).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))));

    let log = log(PASSWORD);
    log.publish(vec![message("a", 1)]).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    assert_eq!(number(&next(&mut subscription).await.msg), 1);
}
