//! What clients send reaches the operator's service, signed and once; the
//! client gets goim's echo, whoever listens.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use halley_client::Transport;
use halley_logic::config::SinkMode;
use halley_wire::Op;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{Client, Gateway, Webhook, found, soon, user};

const SECRET: &[u8] = b"only the two of us know";

/// An operation that neither goim nor Halley knows.
const APPLICATION: Op = Op(4321);

fn with_sink(webhook: &Webhook, secret: &NamedTempFile) -> Gateway {
    std::fs::write(secret.path(), SECRET).expect("written");
    Gateway::start_with(|settings| {
        let sink = &mut settings.logic.sink;
        sink.mode = SinkMode::Webhook;
        sink.webhook.url.clone_from(&webhook.url);
        sink.webhook.secret_file = Some(secret.path().to_owned());
    })
}

/// Sends a message and expects it back without its body.
async fn sends(client: &mut Client, op: Op, body: &'static [u8]) -> i32 {
    let echo = client.call(op, body).await;
    assert_eq!((echo.header.op, echo.header.ver), (op, 1));
    assert!(echo.body.is_empty());
    echo.header.seq
}

/// The messages of all batches, once there are so many; each batch is signed.
async fn received(webhook: &Webhook, count: usize) -> Vec<Value> {
    let messages = found(async || {
        let batches = webhook.requests();
        let messages: Vec<Value> = batches
            .iter()
            .flat_map(|batch| {
                let signed = [
                    batch.header("halley-timestamp").as_bytes(),
                    b".",
                    &batch.body,
                ];
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
                let signature = hmac::sign(&key, &signed.concat());
                let expected = format!("v1={}", hex::encode(signature));
                assert_eq!(batch.header("halley-signature"), expected);
                let batch: Value = serde_json::from_slice(&batch.body).expect("json");
                batch["messages"].as_array().expect("a list").clone()
            })
            .collect();
        (messages.len() >= count).then_some(messages)
    });
    soon("the messages are posted", messages).await
}

#[tokio::test]
async fn messages_from_clients_reach_the_webhook_signed() {
    let webhook = Webhook::start(|_, _| (200, String::new())).await;
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_sink(&webhook, &secret);
    let tcp = user(7, "tcp", "");
    let mut tcp = gateway.log_in(Transport::Tcp, &tcp).await;
    let websocket = user(8, "websocket", "");
    let mut websocket = gateway.log_in(Transport::TlsWebsocket, &websocket).await;

    let first = sends(&mut tcp, Op::SEND, b"hello").await;
    let second = sends(&mut websocket, APPLICATION, b"\xff\x00 any bytes").await;

    let message = |mid: i64, op: Op, seq: i32, body: &[u8]| {
        let body = BASE64_STANDARD.encode(body);
        json!({"mid": mid, "op": op.0, "seq": seq, "ver": 1, "body": body})
    };
    assert_eq!(
        received(&webhook, 2).await,
        [
            message(7, Op::SEND, first, b"hello"),
            message(8, APPLICATION, second, b"\xff\x00 any bytes"),
        ]
    );
    gateway.drain().await;
    assert_eq!(received(&webhook, 2).await.len(), 2);
}

#[tokio::test]
async fn a_webhook_that_fails_at_first_gets_the_same_batch_again() {
    let webhook = Webhook::start(|before, _| match before {
        0 => (503, String::new()),
        _ => (204, String::new()),
    })
    .await;
    let secret = NamedTempFile::new().expect("a file");
    let gateway = with_sink(&webhook, &secret);
    let sender = user(7, "sender", "");
    let mut sender = gateway.log_in(Transport::Websocket, &sender).await;

    sends(&mut sender, Op::SEND, b"once").await;

    received(&webhook, 2).await;
    gateway.drain().await;
    let [failed, taken] = &webhook.requests()[..] else {
        panic!("two attempts");
    };
    assert_eq!(failed.body, taken.body);
    assert_eq!(failed.header("halley-batch"), taken.header("halley-batch"));
}

#[tokio::test]
async fn without_a_sink_the_client_gets_its_echo_too() {
    let gateway = Gateway::start();
    let sender = user(7, "sender", "");
    let mut sender = gateway.log_in(Transport::Tcp, &sender).await;

    sends(&mut sender, Op::SEND, b"hello").await;
    sends(&mut sender, APPLICATION, b"hello").await;

    let samples = gateway.api.metrics().await;
    let ignored = samples.sum("halley_logic_receives_total", &["\"ignored\""]);
    assert_eq!(ignored, 2);
    gateway.drain().await;
}
