//! In TLS: the broker is trusted by its certificate, and passwords may be shown
//! to it so that it does not learn them (SCRAM).

use halley_backend::kafka::Properties;
use halley_engines::{Kafka, KafkaCertificate, KafkaOptions};

use super::authentication::{PASSWORD, carries, login, refuses, start};
use crate::certificate::Certificate;

#[tokio::test]
async fn passwords_are_shown_in_tls() {
    let (kafka, trusted) = start_in_tls();
    let properties = |mechanism, password| in_tls(&trusted, mechanism, password);

    carries(&kafka, "plain", properties("PLAIN", PASSWORD)).await;
    carries(&kafka, "scram", properties("SCRAM-SHA-256", PASSWORD)).await;
    refuses(&kafka, properties("SCRAM-SHA-256", "wrong")).await;
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_told_nothing() {
    let (kafka, _) = start_in_tls();
    let stranger = Certificate::new().authority;

    refuses(&kafka, in_tls(&stranger, "PLAIN", PASSWORD)).await;
}

/// A broker, and the authority by which it is trusted.
fn start_in_tls() -> (Kafka, String) {
    let made = Certificate::new();
    let kafka = start(KafkaOptions {
        certificate: Some(KafkaCertificate {
            chain: made.chain,
            key: made.key,
        }),
        ..KafkaOptions::default()
    });
    (kafka, made.authority)
}

fn in_tls(trusted: &str, mechanism: &str, password: &str) -> Properties {
    let login = login("SASL_SSL", mechanism, password);
    login.iter().chain([("ssl.ca.pem", trusted)]).collect()
}
