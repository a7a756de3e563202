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
        clients = format!("{clients},AUTHENTICATED://{authenticated}");
    }
    let protocol = match options.certificate {
        Some(_) => "SASL_SSL",
        None => "SASL_PLAINTEXT",
    };
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
            format!("PLAINTEXT:PLAINTEXT,AUTHENTICATED:{protocol},CONTROLLER:PLAINTEXT"),
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
        let login = |module: &str| format!("org.apache.kafka.common.security.{module} required");
        let plain = login("plain.PlainLoginModule");
        let scram = login("scram.ScramLoginModule");
        all.extend([
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256".to_owned()),
            (
                "listener.name.authenticated.plain.sasl.jaas.config",
                format!("{plain} user_{name}=\"{password}\";"),
            ),
            (
                "listener.name.authenticated.scram-sha-256.sasl.jaas.config",
                format!("{scram};"),
            ),
        ]);
    }
    if let Some(certificate) = &options.certificate {
        let on_one_line = |pem: &str| pem.trim().replace('\n', "\\n");
        all.extend([
            ("ssl.keystore.type", "PEM".to_owned()),
            (
                "ssl.keystore.certificate.chain",
                on_one_line(&certificate.chain),
            ),
            ("ssl.keystore.key", on_one_line(&certificate.key)),
        ]);
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
