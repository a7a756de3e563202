use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;

use super::{Config, Error, Trust};
use crate::config::Secret;
use crate::grpc::testing::{Node, PATIENCE, call};
use crate::grpc::{Client, ClientConfig};

/// An authority that signs certificates for nodes, in files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node with a certificate for `name`.
    fn node(&self, name: &str) -> Config {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path("key"), key.serialize_pem()).unwrap();
        fs::write(self.path("cert"), cert.pem()).unwrap();
        Config {
            cert_file: Some(self.path("cert")),
            key_file: Some(self.path("key")),
            ca_file: Some(self.path("ca")),
            ..Config::default()
        }
    }
}

fn load(config: &Config) -> Trust {
    Trust::load(config).unwrap()
}

fn with_secret(secret: &str) -> Config {
    Config {
        secret: Some(Secret::new(secret)),
        ..Config::default()
    }
}

/// What a node that knows others by `asking` gets from one that knows them by
/// `asked`; `None` when there is no connection.
async fn asks(asking: &Trust, asked: &Trust) -> Option<Code> {
    let node = Node::start(asked).await;
    let client = Client::new(asking, &ClientConfig::default());
    call(client.connect(&node.addr).unwrap()).await.ok()
}

#[tokio::test]
async fn nodes_of_one_authority_speak_to_each_other() {
    let authority = Authority::new();
    let trust = load(&authority.node("127.0.0.1"));

    assert_eq!(asks(&trust, &trust).await, Some(Code::Ok));
}

#[tokio::test]
async fn the_name_of_all_nodes_stands_in_for_the_host() {
    let authority = Authority::new();
    let mut config = authority.node("halley");
    let by_host = load(&config);
    config.server_name = Some("halley".to_owned());
    let by_name = load(&config);

    assert_eq!(asks(&by_host, &by_host).await, None);
    assert_eq!(asks(&by_name, &by_name).await, Some(Code::Ok));
}

#[tokio::test]
async fn strangers_are_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let node = load(&ours.node("127.0.0.1"));
    let mut stranger = theirs.node("127.0.0.1");
    stranger.ca_file = Some(ours.path("ca"));
    let stranger = load(&stranger);

    assert_eq!(asks(&stranger, &node).await, None, "of another authority");
    assert_eq!(asks(&node, &stranger).await, None, "as the server");
    assert_eq!(asks(&Trust::default(), &node).await, None, "without TLS");
}

#[tokio::test]
async fn a_new_authority_is_taken_over() {
    let (old, new) = (Authority::new(), Authority::new());
    let config = Config {
        reload_interval: Duration::from_millis(5),
        ..old.node("127.0.0.1")
    };
    let node = load(&config);
    let other = load(&new.node("127.0.0.1"));
    assert_eq!(asks(&other, &node).await, None);

    let (stop, watched) = (CancellationToken::new(), node.clone());
    let watching = stop.clone();
    TaskTracker::new().spawn(async move { watching.run_until_cancelled(watched.watch()).await });
    for file in ["cert", "key", "ca"] {
        fs::copy(new.path(file), old.path(file)).unwrap();
    }
    let taken_over = async {
        while asks(&other, &node).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_over)
        .await
        .expect("new certificates in time");
    stop.cancel();
}

#[tokio::test]
async fn calls_carry_the_secret() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("secrets");
    fs::write(
        &file,
        format!("the-next-secret-there-is\n{}\n", "x".repeat(16)),
    )
    .unwrap();
    let asked = load(&Config {
        secret_file: Some(file),
        ..Config::default()
    });

    for (secret, code) in [
        ("the-next-secret-there-is", Code::Ok),
        ("xxxxxxxxxxxxxxxx", Code::Ok),
        ("xxxxxxxxxxxxxxxxx", Code::Unauthenticated),
    ] {
        let asking = load(&with_secret(secret));
        assert_eq!(asks(&asking, &asked).await, Some(code), "{secret}");
    }
    let refused = asks(&Trust::default(), &asked).await;
    assert_eq!(refused, Some(Code::Unauthenticated));
    // Who asks for none is not bothered by one.
    let asking = load(&with_secret("xxxxxxxxxxxxxxxx"));
    assert_eq!(asks(&asking, &Trust::default()).await, Some(Code::Ok));
}

#[tokio::test]
async fn certificate_and_secret_may_both_be_asked_for() {
    let authority = Authority::new();
    let certificate = authority.node("127.0.0.1");
    let both = load(&Config {
        secret: Some(Secret::new("xxxxxxxxxxxxxxxx")),
        ..certificate.clone()
    });

    assert_eq!(asks(&both, &both).await, Some(Code::Ok));
    let refused = asks(&load(&certificate), &both).await;
    assert_eq!(refused, Some(Code::Unauthenticated));
}

#[test]
fn other_machines_are_served_only_with_protection_or_leave() {
    let authority = Authority::new();
    let public = "10.0.0.1:3119".parse().unwrap();
    let loopback = ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"];

    let open = Trust::default();
    for address in loopback {
        open.check_bind(address.parse().unwrap()).unwrap();
    }
    let refused = open.check_bind(public).unwrap_err().to_string();
    assert!(refused.contains("10.0.0.1:3119") && refused.contains("trust.allow_plaintext"));

    let allowed = Config {
        allow_plaintext: true,
        ..Config::default()
    };
    for config in [
        allowed,
        with_secret("xxxxxxxxxxxxxxxx"),
        authority.node("halley"),
    ] {
        load(&config).check_bind(public).unwrap();
    }
}

#[test]
fn what_cannot_be_is_named() {
    let authority = Authority::new();
    let refused = |config: &Config| Trust::load(config).unwrap_err();

    let mut config = authority.node("halley");
    config.ca_file = None;
    assert!(matches!(refused(&config), Error::Incomplete));

    let mut config = authority.node("halley");
    config.ca_file = config.key_file.clone();
    assert!(matches!(refused(&config), Error::Tls(_)));

    let mut config = authority.node("halley");
    config.server_name = Some("not a name".to_owned());
    assert!(matches!(refused(&config), Error::ServerName(_)));

    let mut config = with_secret("xxxxxxxxxxxxxxxx");
    config.secret_file = Some("secrets".into());
    assert!(matches!(refused(&config), Error::TwoSecrets));

    for secret in ["", "too short", "long enough but with blanks"] {
        assert!(matches!(refused(&with_secret(secret)), Error::Secret));
    }
}
