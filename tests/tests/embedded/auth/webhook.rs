//! Another service says who a client is.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use halley_client::Transport;
use halley_logic::config::AuthMode;
use halley_wire::Op;
use serde_json::{Value, json};

use super::{now_s, refused, turned_away};
use crate::support::{Closed, Gateway, Webhook};

fn with_webhook(webhook: &Webhook) -> Gateway {
    Gateway::start_with(|settings| {
        let auth = &mut settings.logic.auth;
        auth.mode = AuthMode::Webhook;
        auth.webhook.url.clone_from(&webhook.url);
    })
}

/// Knows users by their token: `7` is user 7, `7 for 600` for ten minutes.
fn answer(question: &Bytes) -> (u16, String) {
    let question: Value = serde_json::from_slice(question).expect("json");
    assert_eq!(question["server"], "comet-1");
    let token = question["token"].as_str().expect("a token");
    let token = BASE64_STANDARD.decode(token).expect("base64");
    let token = String::from_utf8(token).expect("text");
    let (mid, seconds) = match token.split_once(" for ") {
        Some((mid, seconds)) => (mid, seconds.parse::<u64>().ok()),
        None => (&*token, None),
    };
    let Ok(mid) = mid.parse::<i64>() else {
        return (403, "who is that?".to_owned());
    };
    let mut user = json!({
        "mid": mid,
        "key": format!("key-of-{mid}"),
        "room_id": "live://1",
        "accepts": [1000],
    });
    if let Some(seconds) = seconds {
        user["expires_ms"] = json!((now_s() + seconds) * 1000);
    }
    (200, user.to_string())
}

#[tokio::test]
async fn the_service_says_who_the_client_is() {
    let webhook = Webhook::start(|_, question| answer(question)).await;
    let gateway = with_webhook(&webhook);
    let mut client = gateway.connect(Transport::TlsWebsocket).await;

    client.log_in("7").await;

    gateway.api.push_ok("mids?mids=7", "by user").await;
    assert_eq!(client.message().await, "by user");
    gateway.api.push_ok("keys?keys=key-of-7", "by key").await;
    assert_eq!(client.message().await, "by key");
    gateway
        .api
        .push_ok("room?type=live&room=1", "by room")
        .await;
    assert_eq!(client.message().await, "by room");
    gateway.drain().await;
}

#[tokio::test]
async fn whom_the_service_does_not_know_is_refused() {
    let webhook = Webhook::start(|_, question| answer(question)).await;
    let gateway = with_webhook(&webhook);

    refused(&gateway, "someone").await;

    gateway.drain().await;
}

#[tokio::test]
async fn while_the_service_fails_nobody_is_told_that_his_token_is_bad() {
    let webhook = Webhook::start(|_, _| (500, String::new())).await;
    let gateway = with_webhook(&webhook);

    turned_away(&gateway, "7", 1013).await;

    let samples = gateway.api.metrics().await;
    let unavailable = samples.sum("halley_logic_connects_total", &["\"unavailable\""]);
    // Four logins, and what comet's budget lets it ask again.
    let retries = u64::from(halley_comet::Config::default().logic.retries_min);
    assert!((4..=4 + retries).contains(&unavailable), "{unavailable}");
    gateway.drain().await;
}

#[tokio::test]
async fn a_connection_ends_when_the_service_said_unless_refreshed() {
    let webhook = Webhook::start(|_, question| answer(question)).await;
    let gateway = with_webhook(&webhook);
    let mut refreshed = gateway.connect(Transport::Tcp).await;
    refreshed.log_in("7 for 6").await;
    let mut expires = gateway.connect(Transport::Websocket).await;
    expires.log_in("8 for 6").await;

    let reply = refreshed.call(Op::AUTH, "7 for 600").await;
    assert_eq!(reply.header.op, Op::AUTH_REPLY);

    assert_eq!(expires.closed().await, Closed(Some(4007)));
    gateway.connections(1).await;
    gateway.api.push_ok("mids?mids=7", "still here").await;
    assert_eq!(refreshed.message().await, "still here");
    gateway.drain().await;
}
