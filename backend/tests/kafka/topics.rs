//! A missing topic is made, or named in the error; a log that cannot be is
//! refused before it connects.

use std::time::Duration;

use halley_backend::kafka::{Config, ConfigError};
use halley_backend::push_log::{KafkaConfig, KafkaPushLog, PublishError, PushLog as _, Start};

use super::support::{config, log, message, next, number, shared};

#[tokio::test]
async fn a_missing_topic_is_an_error_if_it_is_not_to_be_made() {
    let log = log("never-made", |config| config.create_topic.partitions = 0);

    let refused = log.publish(vec![message("a", 1)]).await.unwrap_err();

    assert!(matches!(refused, PublishError::Unavailable(_)));
    assert!(refused.to_string().contains("never-made"), "{refused}");
    assert!(log.subscribe().await.is_err());
}

#[tokio::test]
async fn a_new_group_begins_with_what_was_accepted_before_it() {
    let log = log("earliest", |_| {});
    log.publish(vec![message("a", 1)]).await.unwrap();

    let mut subscription = log.subscribe().await.unwrap();

    let first = next(&mut subscription).await;
    assert_eq!(number(&first.msg), 1);
    assert!(first.published.elapsed() < Duration::from_mins(1));
}

#[tokio::test]
async fn a_new_group_can_begin_at_the_end_as_goims_does() {
    let log = log("latest", |config| {
        config.consumer.start = Start::Latest;
        config.create_topic.partitions = 1;
    });
    log.publish(vec![message("a", 1)]).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();

    // Where the end is, is known some time after the subscription.
    let mut published = 1;
    let first = loop {
        published += 1;
        log.publish(vec![message("a", published)]).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(100), subscription.next());
        if let Ok(delivery) = next.await {
            break delivery.unwrap();
        }
    };

    assert_ne!(number(&first.msg), 1);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_at_once() {
    let mut kafka = shared();
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "NONSENSE"),
    ];
    kafka.properties = properties.into_iter().collect();
    let refused = KafkaPushLog::new(kafka, config("any")).unwrap_err();
    assert!(refused.to_string().contains("NONSENSE"), "{refused}");

    let nowhere = KafkaPushLog::new(Config::default(), KafkaConfig::default());
    assert!(matches!(nowhere, Err(ConfigError::NoBroker)));
}
