//! The brokers' settings.

use std::collections::BTreeMap;

use super::KafkaOptions;
use super::broker::Broker;

/// The settings of the broker with this number, as in `server.properties`.
/// Group members may have shorter timeouts than by default, so that a dead one
/// is noticed in the time of a test.
pub(super) fn of_broker(
    id: u16,
    broker: &Broker,
    controllers: &[String],
    options: &KafkaOptions,
) -> String {
    let voters: Vec<_> = controllers
        .iter()
        .zip(1..)
        .map(|(controller, id)| format!("{id}@{controller}"))
        .collect();
    let replicas = options.brokers.min(3);
    let in_sync_min = replicas.div_ceil(2);
    let mut clients = format!("PLAINTEXT://{}", broker.address());
    if options.user.is_some() {
        let authenticated = broker.authenticated();
        clients = format!("{clients},SASL_PLAINTEXT://{authenticated}");
    }
    let listeners = format!("{clients},CONTROLLER://{}", broker.controller());
    let settings = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listeners", listeners),
        ("advertised.listeners", clients),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        ),
        ("log.dirs", broker.data().display().to_string()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("default.replication.factor", replicas.to_string()),
        ("min.insync.replicas", in_sync_min.to_string()),
        ("offsets.topic.replication.factor", replicas.to_string()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        (
            "transaction.state.log.replication.factor",
            replicas.to_string(),
        ),
        ("transaction.state.log.min.isr", in_sync_min.to_string()),
        // Half of the heap by default.
        ("log.cleaner.dedupe.buffer.size", (4 << 20).to_string()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("group.min.session.timeout.ms", "1000".to_owned()),
        ("group.consumer.min.session.timeout.ms", "1000".to_owned()),
        ("group.consumer.session.timeout.ms", "6000".to_owned()),
        ("group.consumer.min.heartbeat.interval.ms", "200".to_owned()),
        ("group.consumer.heartbeat.interval.ms", "1000".to_owned()),
    ];
    let mut all: BTreeMap<&str, String> = settings.into();
    if let Some((name, password)) = &options.user {
        let login = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let users = format!("{login} required user_{name}=\"{password}\";");
        all.insert("sasl.enabled.mechanisms", "PLAIN".to_owned());
        all.insert("listener.name.sasl_plaintext.plain.sasl.jaas.config", users);
    }
    for (key, value) in &options.properties {
        all.insert(key, value.clone());
    }
    let lines: Vec<_> = all
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.join("\n")
}
