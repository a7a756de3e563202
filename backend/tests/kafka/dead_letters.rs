//! A record that is no push goes to the dead-letter topic with its reason, and
//! the partition moves on, but not before the dead letter is written.

use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_backend::push_log::PushLog as _;
use halley_proto::goim::logic::PushMsg;
use prost::Message as _;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};

use super::support::{client, eventually, log, message, next, number, put, read};

fn header(record: &OwnedMessage, name: &str) -> String {
    let headers = record.headers().unwrap();
    let header = headers.iter().find(|header| header.key == name).unwrap();
    String::from_utf8(header.value.unwrap().to_vec()).unwrap()
}

/// A room name that is not UTF-8.
fn corrupt() -> Vec<u8> {
    let mut record = message("room", 0).encode_to_vec();
    let room = record.windows(4).position(|four| four == b"room").unwrap();
    record[room] = 0xff;
    assert!(PushMsg::decode(&record[..]).is_err());
    record
}

#[tokio::test]
async fn what_is_no_push_is_put_aside() {
    let log = log("corrupt", |config| config.create_topic.partitions = 1);
    log.publish(vec![message("a", 0)]).await.unwrap();
    put("corrupt", "key", &corrupt()).await;
    log.publish(vec![message("a", 1)]).await.unwrap();

    let mut subscription = log.subscribe().await.unwrap();
    for expected in 0..2 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery.msg), expected);
        delivery.ack.done();
    }

    let letters = read("corrupt.dead", 1).await;
    assert_eq!(letters[0].payload(), Some(&corrupt()[..]));
    assert_eq!(letters[0].key(), Some(&b"key"[..]));
    assert_eq!(header(&letters[0], "halley-topic"), "corrupt");
    assert_eq!(header(&letters[0], "halley-partition"), "0");
    assert_eq!(header(&letters[0], "halley-offset"), "1");
    assert!(header(&letters[0], "halley-reason").contains("UTF-8"));
    eventually("all accounted for", async || {
        log.stats().in_flight_records == 0
    })
    .await;
    assert_eq!(log.stats().dead_letters, 1);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_is_not_lost() {
    const DEAD: &str = "unwritable.dead";
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let options = AdminOptions::new();
    let dead = NewTopic::new(DEAD, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "1");
    admin.create_topics([&dead], &options).await.unwrap();
    let log = log("unwritable", |config| {
        config.create_topic.partitions = 1;
        config.consumer.retry = Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        };
    });
    let mut subscription = log.subscribe().await.unwrap();
    put("unwritable", "key", &corrupt()).await;
    log.publish(vec![message("a", 1)]).await.unwrap();

    next(&mut subscription).await.ack.done();
    eventually("tried again", async || log.stats().dead_letter_failures > 2).await;
    // Its place was not passed: the next subscription meets it again.
    subscription.close().await;
    let mut subscription = log.subscribe().await.unwrap();
    let again = next(&mut subscription).await;
    assert_eq!(number(&again.msg), 1);
    again.ack.done();

    let resource = ResourceSpecifier::Topic(DEAD);
    let writable = AlterConfig::new(resource).set("max.message.bytes", "100000");
    admin.alter_configs([&writable], &options).await.unwrap();

    eventually("written", async || log.stats().dead_letters == 1).await;
    // A broker that took no byte of it got a letter without its content.
    let letters = read(DEAD, 1).await;
    assert_eq!(header(&letters[0], "halley-offset"), "0");
}
