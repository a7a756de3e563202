//! In TLS: the broker is trusted by its certificate, and passwords may be shown
//! to it so that it does not learn them (SCRAM).

use halley_backend::kafka::Properties;
use halley_engines::{Kafka, KafkaCertificate, KafkaOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::authentication::{PASSWORD, carries, login, refuses, start};

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
    let stranger = authority().pem();

    refuses(&kafka, in_tls(&stranger, "PLAIN", PASSWORD)).await;
}

/// A broker, and the authority by which it is trusted.
fn start_in_tls() -> (Kafka, String) {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let kafka = start(KafkaOptions {
        certificate: Some(KafkaCertificate {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }),
        ..KafkaOptions::default()
    });
    (kafka, authority.pem())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL finds an authority by its name, which must not be everybody's.
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "authority of a test");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn in_tls(trusted: &str, mechanism: &str, password: &str) -> Properties {
    let login = login("SASL_SSL", mechanism, password);
    login.iter().chain([("ssl.ca.pem", trusted)]).collect()
}
