//! The engines start, are killed, and come back.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};

use halley_engines::{Kafka, KafkaOptions, KafkaVersion, Redis, RedisCluster};

fn is_open(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    TcpStream::connect(address).is_ok()
}

#[test]
fn redis_comes_back_on_its_port() {
    let mut redis = Redis::start().unwrap();
    let address = format!("127.0.0.1:{}", redis.port());
    assert!(is_open(&address));

    redis.kill();
    assert!(!is_open(&address));
    redis.restart().unwrap();

    assert!(is_open(&address));
    redis.flush_all().unwrap();
    drop(redis);
    assert!(!is_open(&address));
}

#[test]
fn a_redis_cluster_survives_the_restart_of_a_master() {
    let mut cluster = RedisCluster::start().unwrap();

    cluster.kill(1);
    cluster.restart(1).unwrap();

    cluster.flush_all().unwrap();
    assert_eq!(cluster.urls().len(), 3);
}

#[test]
fn kafka_comes_back_on_its_port() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let address = kafka.brokers();
    assert!(is_open(&address));

    kafka.kill(0);
    assert!(!is_open(&address));
    kafka.restart(0).unwrap();

    assert!(is_open(&address));
}

#[test]
fn the_kafka_that_goim_speaks_to_starts_too() {
    let kafka = Kafka::start(&KafkaOptions {
        version: KafkaVersion::V3_9,
        ..KafkaOptions::default()
    })
    .unwrap();

    assert!(is_open(&kafka.brokers()));
}

#[test]
fn three_brokers_see_each_other() {
    let mut kafka = Kafka::start(&KafkaOptions {
        brokers: 3,
        ..KafkaOptions::default()
    })
    .unwrap();

    kafka.kill(2);
    kafka.restart(2).unwrap();

    assert_eq!(kafka.brokers().split(',').count(), 3);
}
