//! A member of the group dies without a word: what it had taken and not
//! acknowledged is delivered to another within the session's timeout.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use halley_backend::kafka::Config;
use halley_backend::push_log::{KafkaPushLog, PushLog as _};

use super::support::{config, log, messages, next, number, shared};

const BROKERS: &str = "HALLEY_TEST_MEMBER_BROKERS";
const TOPIC: &str = "death";

/// The member, in a process of its own: this same program, told so by a
/// variable. It takes all and acknowledges none.
#[tokio::test]
async fn member() {
    let Ok(brokers) = env::var(BROKERS) else {
        return;
    };
    let kafka = Config {
        brokers: vec![brokers],
        ..Config::default()
    };
    let log = KafkaPushLog::new(kafka, config(TOPIC)).unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    let mut held = Vec::new();
    while let Some(delivery) = subscription.next().await {
        println!("took {}", number(&delivery.msg));
        held.push(delivery);
    }
}

#[tokio::test]
async fn what_a_dead_member_held_is_delivered_to_another() {
    let log = log(TOPIC, |_| {});
    log.publish(messages("a", 0..10)).await.unwrap();
    let mut member = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kafka::death::member", "--nocapture"])
        .env(BROKERS, shared().brokers.join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(member.stdout.take().unwrap()).lines();
    let last = said.find(|line| line.as_ref().unwrap().ends_with("took 9"));
    assert!(last.is_some(), "the member takes everything");

    member.kill().unwrap();
    member.wait().unwrap();
    let died = Instant::now();
    let mut subscription = log.subscribe().await.unwrap();

    for expected in 0..10 {
        let delivery = next(&mut subscription).await;
        assert_eq!(number(&delivery.msg), expected);
        delivery.ack.done();
    }
    assert!(died.elapsed() < Duration::from_secs(15));
}
