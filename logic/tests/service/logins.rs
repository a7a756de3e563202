//! Connect: who is let in, as whom, and what he is told.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_logic::config::AuthMode;
use halley_proto::metadata;
use jsonwebtoken::{EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{Mood, Node, PATIENCE};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn with_jwt() -> (Node, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(SECRET).unwrap();
    let node = Node::start(|config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.jwt.key_file = Some(file.path().to_owned());
    });
    (node, file)
}

fn token(claims: &Value) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap()
}

fn in_10_minutes_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + 600
}

#[tokio::test]
async fn a_login_is_answered_as_by_goim() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;

    let response = client
        .connect(
            "comet-1",
            Some(1),
            r#"{"MID":7,"key":"k","room_id":"live://1","platform":"ios","accepts":[1000,1001]}"#,
        )
        .await
        .unwrap();

    assert_eq!(metadata::grant(response.metadata()), None);
    let reply = response.into_inner();
    assert_eq!(reply.mid, 7);
    assert_eq!(reply.key, "k");
    assert_eq!(reply.room_id, "live://1");
    assert_eq!(reply.accepts, [1000, 1001]);
    assert_eq!(reply.heartbeat, 480_000_000_000);
    assert_eq!(node.server_of("k").await.as_deref(), Some("comet-1"));
    assert_eq!(
        node.metric("halley_logic_connects_total{outcome=\"accepted\"}"),
        1
    );
}

#[tokio::test]
async fn the_idle_deadline_is_never_nothing() {
    let node = Node::start(|config| {
        config.nodes.heartbeat = Duration::from_nanos(1);
        config.nodes.heartbeat_max = 1;
    });
    let reply = node.client().await.connect("comet-1", None, "{}").await;
    assert_eq!(reply.unwrap().into_inner().heartbeat, 1);

    let node = Node::start(|config| {
        config.nodes.heartbeat = Duration::MAX;
        config.nodes.heartbeat_max = u32::MAX;
    });
    let reply = node.client().await.connect("comet-1", None, "{}").await;
    assert_eq!(reply.unwrap().into_inner().heartbeat, i64::MAX);
}

#[tokio::test]
async fn a_login_that_is_repeated_gets_the_same_key() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    let mut key_of = async |server, connection, token| {
        let reply = client.connect(server, connection, token).await.unwrap();
        reply.into_inner().key
    };
    let token = r#"{"mid":7}"#;
    let key = key_of("comet-1", Some(1), token).await;

    assert_eq!(key_of("comet-1", Some(1), token).await, key);
    for (server, connection, token) in [
        ("comet-1", Some(2), token),
        ("comet-2", Some(1), token),
        ("comet-1", Some(1), r#"{"mid":8}"#),
        ("comet-1", None, token),
    ] {
        let other = key_of(server, connection, token).await;
        assert_ne!(other, key, "{server} {connection:?} {token}");
        assert_eq!(other.len(), key.len());
    }
}

#[tokio::test]
async fn a_login_without_a_key_gets_one_and_is_bound_to_it() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;

    let reply = client.connect("comet-1", Some(1), "null").await.unwrap();

    let key = reply.into_inner().key;
    assert_eq!(key.len(), 36);
    assert_eq!(node.server_of(&key).await.as_deref(), Some("comet-1"));
}

#[tokio::test]
async fn what_is_no_login_is_unauthenticated() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;

    for body in ["", "x", "[]", r#"{"mid":"7"}"#] {
        let status = client.connect("comet-1", None, body).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{body}");
    }
    assert_eq!(
        node.metric("halley_logic_connects_total{outcome=\"refused\"}"),
        4
    );
}

#[tokio::test]
async fn a_login_fails_when_the_sessions_do() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    *node.sessions.mood.lock() = Mood::Fail;

    let status = client.connect("comet-1", None, "{}").await.unwrap_err();

    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        node.metric("halley_logic_connects_total{outcome=\"sessions_failed\"}"),
        1
    );
}

#[tokio::test]
async fn a_client_is_only_who_its_token_says() {
    let (node, _file) = with_jwt();
    let mut client = node.client().await;
    let exp = in_10_minutes_s();
    let token = token(&json!({"mid": 7, "exp": exp, "rooms": ["live://*"], "ops": [1000]}));

    let forged = r#"{"mid":8,"key":"8:phone"}"#;
    let status = client.connect("comet-1", None, forged).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let body = json!({"token": token, "mid": 8, "key": "8:phone", "room_id": "live://1", "accepts": [1000, 1001]});
    let response = client
        .connect("comet-1", Some(1), &body.to_string())
        .await
        .unwrap();
    let grant = metadata::grant(response.metadata()).unwrap();
    let reply = response.into_inner();
    assert_eq!(reply.mid, 7);
    assert_eq!(reply.key, "7:8:phone");
    assert_eq!(reply.accepts, [1000]);
    assert_eq!(grant.expires_ms, i64::try_from(exp + 5).unwrap() * 1000);
    assert!(grant.restrict_rooms && grant.restrict_ops);
    assert_eq!(grant.rooms, ["live://*"]);
    assert_eq!(grant.ops, [1000]);
}

#[tokio::test]
async fn a_room_outside_of_the_grant_is_no_place_to_start() {
    let (node, _file) = with_jwt();
    let token = token(&json!({"mid": 7, "exp": in_10_minutes_s(), "rooms": []}));
    let body = json!({"token": token, "room_id": "live://1"});

    let status = node
        .client()
        .await
        .connect("comet-1", None, &body.to_string())
        .await
        .unwrap_err();

    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_refresh_looks_at_the_token_and_binds_nothing() {
    let (node, _file) = with_jwt();
    let mut client = node.client().await;
    let exp = in_10_minutes_s();

    let unnamed = client
        .refresh(&token(&json!({"mid": 7, "exp": exp})))
        .await
        .unwrap();
    let named = client
        .refresh(&token(&json!({"mid": 7, "key": "k", "exp": exp})))
        .await
        .unwrap();
    let late = client.refresh(&token(&json!({"mid": 7, "exp": 1}))).await;

    let grant = metadata::grant(unnamed.metadata()).unwrap();
    assert_eq!(grant.expires_ms, i64::try_from(exp + 5).unwrap() * 1000);
    assert_eq!(unnamed.get_ref().mid, 7);
    assert_eq!(unnamed.get_ref().key, "");
    assert_eq!(named.get_ref().key, "k");
    assert_eq!(node.server_of("k").await, None);
    assert_eq!(late.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(
        node.metric("halley_logic_connects_total{outcome=\"refreshed\"}"),
        2
    );
}

#[tokio::test]
async fn a_login_nobody_can_decide_about_is_unavailable() {
    let node = Node::start(|config| {
        config.auth.mode = AuthMode::Webhook;
        // Discard: nothing listens there.
        config.auth.webhook.url = "http://127.0.0.1:9/".to_owned();
        config.auth.webhook.retries_max = 0;
    });

    let status = node
        .client()
        .await
        .connect("comet-1", None, "{}")
        .await
        .unwrap_err();

    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn tokens_are_in_no_log_and_no_answer() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish(),
    );
    let (node, _file) = with_jwt();
    let mut client = node.client().await;
    let good = token(&json!({"mid": 7, "exp": in_10_minutes_s()}));
    let late = token(&json!({"mid": 7, "exp": 1}));

    client.connect("comet-1", None, &good).await.unwrap();
    let logged = async {
        while !log.text().contains("login failed") {
            // Tests of other threads may have just found out that nobody listens.
            tracing::callsite::rebuild_interest_cache();
            for bad in [&late, "visible-secret", r#"{"token":"visible-secret"}"#] {
                let status = client.connect("comet-1", None, bad).await.unwrap_err();
                assert!(!status.message().contains("visible"), "{status}");
            }
        }
    };
    timeout(PATIENCE, logged).await.expect("a line in the log");

    let text = log.text();
    for secret in [&*good, &late, "visible-secret"] {
        // Long parts of a token are as telling as the whole.
        for part in secret.split('.').filter(|part| part.len() >= 14) {
            assert!(!text.contains(part), "{part} in the log");
        }
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
