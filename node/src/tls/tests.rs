use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Error, Files, Tls};

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a new certificate for the name and returns it.
fn write_pair(cert: &Path, key: &Path, name: &str) -> CertificateDer<'static> {
    let CertifiedKey {
        cert: new,
        signing_key,
    } = generate_simple_self_signed([name.to_owned()]).expect("generate certificate");
    fs::write(key, signing_key.serialize_pem()).expect("write key");
    fs::write(cert, new.pem()).expect("write certificate");
    new.der().clone()
}

fn paths(dir: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let path = |kind| dir.path().join(format!("{name}.{kind}"));
    (path("cert"), path("key"))
}

fn files(pairs: &[&(PathBuf, PathBuf)]) -> Files {
    Files {
        cert: pairs.iter().map(|(cert, _)| cert.clone()).collect(),
        key: pairs.iter().map(|(_, key)| key.clone()).collect(),
    }
}

/// The certificate that a client which asks for `name` is given.
async fn presented(tls: &Tls, name: &'static str) -> CertificateDer<'static> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let (client, server) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name).expect("a server name");
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::new(config)).connect(name, client),
        tls.acceptor().accept(server),
    );
    server.expect("server side of the handshake");
    let client = client.expect("client side of the handshake");
    let (_, connection) = client.get_ref();
    connection.peer_certificates().expect("certificates")[0].clone()
}

async fn until_presented(tls: &Tls, expected: &CertificateDer<'static>) {
    let waiting = async {
        while presented(tls, "one.example").await != *expected {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("certificate in time");
}

#[tokio::test]
async fn the_server_name_picks_the_pair() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (paths(&dir, "one"), paths(&dir, "two"));
    let first = write_pair(&one.0, &one.1, "one.example");
    let second = write_pair(&two.0, &two.1, "*.two.example");
    let tls = Tls::load(&files(&[&one, &two])).unwrap();

    assert_eq!(presented(&tls, "one.example").await, first);
    assert_eq!(presented(&tls, "im.two.example").await, second);
    assert_eq!(presented(&tls, "other.example").await, first);
    assert_eq!(presented(&tls, "127.0.0.1").await, first);
}

#[tokio::test]
async fn changed_files_are_taken_over_and_broken_ones_are_not() {
    let dir = TempDir::new().unwrap();
    let pair = paths(&dir, "one");
    let first = write_pair(&pair.0, &pair.1, "one.example");
    let tls = Tls::load(&files(&[&pair])).unwrap();
    assert_eq!(presented(&tls, "one.example").await, first);

    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(Arc::clone(&tls).watch(POLL, stop.clone()));
    let second = write_pair(&pair.0, &pair.1, "one.example");
    until_presented(&tls, &second).await;

    fs::write(&pair.0, "nothing of use").unwrap();
    assert_eq!(presented(&tls, "one.example").await, second);
    let third = write_pair(&pair.0, &pair.1, "one.example");
    until_presented(&tls, &third).await;

    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[test]
fn unusable_files_are_named() {
    let dir = TempDir::new().unwrap();
    let (one, two) = (paths(&dir, "one"), paths(&dir, "two"));
    write_pair(&one.0, &one.1, "one.example");
    write_pair(&two.0, &two.1, "two.example");
    let load = |files: &Files| Tls::load(files).unwrap_err();

    assert!(matches!(load(&Files::default()), Error::Nothing));

    let mut unpaired = files(&[&one]);
    unpaired.key.clear();
    assert!(matches!(
        load(&unpaired),
        Error::Unpaired { certs: 1, keys: 0 }
    ));

    let mixed = files(&[&(one.0.clone(), two.1.clone())]);
    let error = load(&mixed).to_string();
    assert!(
        error.contains("one.cert") && error.contains("two.key"),
        "{error}"
    );

    let error = load(&files(&[&paths(&dir, "three")])).to_string();
    assert!(error.contains("three.cert"), "{error}");

    fs::write(&one.0, "").unwrap();
    assert!(matches!(load(&files(&[&one])), Error::Empty { .. }));
}

/// Takes any certificate whose key the server holds.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
