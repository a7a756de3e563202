//! Signed tokens.

use halley_client::Transport;
use halley_logic::config::AuthMode;
use halley_wire::{AuthBody, Op};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{now_s, refused};
use crate::support::{Closed, Gateway, user};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn with_jwt(secret: &NamedTempFile) -> Gateway {
    std::fs::write(secret.path(), SECRET).expect("written");
    Gateway::start_with(|settings| {
        let auth = &mut settings.logic.auth;
        auth.mode = AuthMode::Jwt;
        auth.jwt.key_file = Some(secret.path().to_owned());
        auth.jwt.leeway = std::time::Duration::ZERO;
    })
}

fn token(claims: &Value, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    encode(&Header::default(), claims, &key).expect("a token")
}

fn with_token(wishes: AuthBody, token: String) -> AuthBody {
    AuthBody {
        token: Some(token),
        ..wishes
    }
}

#[tokio::test]
async fn a_token_says_who_the_client_is() {
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_jwt(&secret);
    let claims = json!({"mid": 7, "rooms": ["live://*"], "exp": now_s() + 600});
    // It would like to be someone else.
    let wishes = with_token(user(8, "phone", "live://1"), token(&claims, SECRET));
    let mut client = gateway.log_in(Transport::Websocket, &wishes).await;

    gateway.api.push_ok("mids?mids=8", "not for it").await;
    gateway.api.push_ok("keys?keys=phone", "not for it").await;
    gateway.api.push_ok("mids?mids=7", "by user").await;
    assert_eq!(client.message().await, "by user");
    gateway.api.push_ok("keys?keys=7:phone", "by key").await;
    assert_eq!(client.message().await, "by key");
    gateway
        .api
        .push_ok("room?type=live&room=1", "by room")
        .await;
    assert_eq!(client.message().await, "by room");
    gateway.drain().await;
}

#[tokio::test]
async fn a_token_says_which_rooms_there_are() {
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_jwt(&secret);
    let claims = json!({"mid": 7, "rooms": ["live://*"], "exp": now_s() + 600});
    let token = token(&claims, SECRET);
    let vip = with_token(user(7, "vip", "vip://1"), token.clone());
    refused(&gateway, &vip.to_json()).await;
    let member = with_token(user(7, "phone", "live://1"), token);
    let mut member = gateway.log_in(Transport::Tcp, &member).await;

    let reply = member.call(Op::CHANGE_ROOM, "vip://1").await;

    // As goim says it, whether or not it came true.
    assert_eq!(reply.header.op, Op::CHANGE_ROOM_REPLY);
    assert_eq!(reply.body, "vip://1");
    gateway
        .api
        .push_ok("room?type=vip&room=1", "not for it")
        .await;
    gateway.api.push_ok("room?type=live&room=1", "for it").await;
    assert_eq!(member.message().await, "for it");
    assert_eq!(gateway.settled().await.comet.offline, 1);
    gateway.drain().await;
}

#[tokio::test]
async fn a_login_without_a_good_token_is_refused() {
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_jwt(&secret);
    let claims = json!({"mid": 7, "exp": now_s() + 600});
    let expired = json!({"mid": 7, "exp": now_s() - 60});
    let endless = json!({"mid": 7});

    refused(
        &gateway,
        &token(&claims, b"another secret of thirty-two bytes"),
    )
    .await;
    refused(&gateway, &token(&expired, SECRET)).await;
    refused(&gateway, &token(&endless, SECRET)).await;
    refused(&gateway, &user(7, "phone", "").to_json()).await;

    let samples = gateway.api.metrics().await;
    let refusals = samples.sum("halley_logic_connects_total", &["\"refused\""]);
    assert_eq!(refusals, 16);
    gateway.drain().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_refreshed() {
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_jwt(&secret);
    let until = |key: &str, seconds| {
        let claims = json!({"mid": 7, "key": key, "exp": now_s() + seconds});
        token(&claims, SECRET)
    };
    let log_in = async |transport, key| {
        let mut client = gateway.connect(transport).await;
        client.log_in(until(key, 6)).await;
        client
    };
    let mut refreshed = log_in(Transport::TlsTcp, "refreshed").await;
    let mut tcp = log_in(Transport::Tcp, "tcp").await;
    let mut websocket = log_in(Transport::Websocket, "websocket").await;

    let reply = refreshed.call(Op::AUTH, until("refreshed", 600)).await;
    assert_eq!(reply.header.op, Op::AUTH_REPLY);

    assert_eq!(tcp.closed().await, Closed(None));
    assert_eq!(websocket.closed().await, Closed(Some(4007)));
    // All three tokens began in the same second or the one before.
    gateway.connections(1).await;
    refreshed.call(Op::SUB, "1000").await;
    gateway.api.push_ok("mids?mids=7", "still here").await;
    assert_eq!(refreshed.message().await, "still here");
    gateway.drain().await;
}

#[tokio::test]
async fn a_token_of_someone_else_refreshes_nothing() {
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_jwt(&secret);
    let of = |mid| token(&json!({"mid": mid, "exp": now_s() + 600}), SECRET);
    let mut client = gateway.connect(Transport::Websocket).await;
    client.log_in(of(7)).await;

    client.send(Op::AUTH, of(8)).await;

    assert_eq!(client.closed().await, Closed(Some(4001)));
    gateway.drain().await;
}
