//! Kafka: where it is, and how its clients are made.

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

pub use producer::{Producer, ProducerConfig, Record, SendError};
pub use properties::Properties;
pub use topics::{CreateTopic, Topics};

mod producer;
mod properties;
mod topics;

/// What all clients of one Kafka cluster share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Brokers to begin with, each as `host:port`; they name the others.
    pub brokers: Vec<String>,
    /// Properties of librdkafka, such as those of TLS and SASL.
    pub properties: Properties,
}

/// Why a client of Kafka cannot be made: the operator's to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is nowhere to begin.
    #[error("kafka.brokers is empty: name at least one broker as \"host:port\"")]
    NoBroker,
    /// The property is set by Halley, which depends on its value.
    #[error("kafka.properties: {0} is set by halley and cannot be changed")]
    Reserved(String),
    /// librdkafka does not take the property.
    #[error("kafka.properties: {key}: {problem}")]
    Property {
        /// Its name.
        key: String,
        /// What librdkafka says of it.
        problem: String,
    },
    /// The properties ask for TLS, which this program was built without.
    #[error(
        "kafka.properties: {0} needs TLS for kafka, which this halley was built without: \
         build it with --features kafka-tls"
    )]
    NoTls(String),
    /// Properties that do not go together, or files that cannot be read.
    #[error("kafka client: {0}")]
    Client(String),
}

/// Settings whose values Halley's promises rest on.
const RESERVED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "linger.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

impl Config {
    /// Checks what librdkafka tells without connecting.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.brokers.is_empty() {
            return Err(ConfigError::NoBroker);
        }
        let reserved = |key: &&str| RESERVED.contains(key);
        if let Some(key) = self.properties.keys().find(reserved) {
            return Err(ConfigError::Reserved(key.to_owned()));
        }
        if !cfg!(feature = "kafka-tls")
            && let Some((key, _)) = self
                .properties
                .iter()
                .find(|(key, value)| needs_tls(key, value))
        {
            return Err(ConfigError::NoTls(key.to_owned()));
        }
        self.client(&[]).create_native_config()?;
        Ok(())
    }

    /// The settings of a client: those here, and in their stead what the
    /// properties say, and in any case `fixed`.
    pub(crate) fn client(&self, fixed: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "halley")
            .set("socket.nagle.disable", "true")
            // A broker that comes back is noticed within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in self.properties.iter() {
            config.set(key, value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        for (key, value) in fixed {
            config.set(*key, value);
        }
        config
    }
}

fn needs_tls(key: &str, value: &str) -> bool {
    match key {
        "security.protocol" => value.to_ascii_lowercase().contains("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM-"),
        key => key.starts_with("ssl."),
    }
}

impl From<KafkaError> for ConfigError {
    fn from(error: KafkaError) -> Self {
        // The value is left out: it may be a secret.
        if let KafkaError::ClientConfig(_, problem, key, _) = error {
            Self::Property { key, problem }
        } else {
            Self::Client(error.to_string())
        }
    }
}

/// Passes on what librdkafka logs. It tries again by itself, so nothing of it
/// is an error that a person must see to.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, "kafka: {message}");
        }
    }
}

/// Passes on what went wrong in a client as a whole.
pub(crate) fn log_error(error: &KafkaError, reason: impl fmt::Display) {
    tracing::warn!(%error, "kafka: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &str) -> Config {
        Config {
            brokers: vec!["localhost:9092".to_owned()],
            properties: serde_json::from_str(properties).unwrap(),
        }
    }

    fn problem(properties: &str) -> String {
        config(properties).check().unwrap_err().to_string()
    }

    #[test]
    fn properties_are_checked_before_anything_connects() {
        assert!(config(r#"{"socket.timeout.ms": 1000}"#).check().is_ok());
        let unknown = problem(r#"{"sokket.timeout.ms": 1000}"#);
        assert!(unknown.contains("sokket.timeout.ms"), "{unknown}");
        let out_of_range = problem(r#"{"socket.timeout.ms": -7}"#);
        assert!(out_of_range.contains("socket.timeout.ms"), "{out_of_range}");
        let none = Config::default().check().unwrap_err().to_string();
        assert!(none.contains("kafka.brokers"), "{none}");
    }

    #[test]
    fn what_halley_depends_on_cannot_be_changed() {
        let reserved = problem(r#"{"enable.auto.commit": true}"#);

        assert!(reserved.contains("enable.auto.commit"), "{reserved}");
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn tls_that_was_not_built_in_is_said_to_be_missing() {
        for properties in [
            r#"{"security.protocol": "SASL_SSL"}"#,
            r#"{"ssl": {"ca": {"location": "/ca.pem"}}}"#,
            r#"{"sasl.mechanism": "SCRAM-SHA-256"}"#,
        ] {
            let problem = problem(properties);
            assert!(problem.contains("kafka-tls"), "{problem}");
        }
    }
}
