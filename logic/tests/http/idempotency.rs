//! `Idempotency-Key` on pushes.

use std::time::Duration;

use tokio::time::timeout;

use crate::harness::{Answer, Harness, LogMood, PATIENCE};

const PUSH: &str = "/goim/push/room?operation=1&type=live&room=1";
const ACCEPTED: &str = r#"{"code":0,"message":""}"#;

fn start() -> Harness {
    Harness::start(|_| {})
}

async fn push(harness: &Harness, key: &str, target: &str, body: &[u8]) -> Answer {
    let header = format!("Idempotency-Key: {key}\r\n");
    harness.send_with("POST", target, &header, body).await
}

#[tokio::test]
async fn a_repeated_push_is_answered_again_and_not_done_again() {
    let harness = start();
    let target = format!("{PUSH}&receipt=1");

    let first = push(&harness, "a", &target, b"x").await;
    let again = push(&harness, "a", &target, b"x").await;

    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(harness.published().len(), 1);
}

#[tokio::test]
async fn other_keys_are_other_pushes() {
    let harness = start();

    push(&harness, "a", PUSH, b"x").await;
    push(&harness, "b", PUSH, b"x").await;
    harness.send("POST", PUSH, b"x").await;

    assert_eq!(harness.published().len(), 3);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let harness = start();
    push(&harness, "a", PUSH, b"x").await;

    for (target, body) in [
        (PUSH, b"y"),
        ("/goim/push/room?operation=1&type=live&room=2", b"x"),
    ] {
        let answer = push(&harness, "a", target, body).await;
        assert_eq!(answer.status, 422, "{target}");
        assert!(
            answer.body.starts_with(r#"{"code":-422,"#),
            "{}",
            answer.body
        );
    }
    assert_eq!(harness.published().len(), 1);
}

#[tokio::test]
async fn a_push_that_failed_may_be_tried_again() {
    let harness = start();
    *harness.log.mood.lock() = LogMood::Unavailable;
    assert_eq!(push(&harness, "a", PUSH, b"x").await.status, 503);

    *harness.log.mood.lock() = LogMood::Takes;
    let answer = push(&harness, "a", PUSH, b"x").await;

    assert_eq!((answer.status, &*answer.body), (200, ACCEPTED));
    assert_eq!(harness.published().len(), 1);
}

#[tokio::test]
async fn a_push_whose_client_gave_up_is_seen_through() {
    let harness = Harness::start(|config| {
        config.http.request_timeout = Duration::from_millis(50);
    });
    *harness.log.mood.lock() = LogMood::Hangs;
    assert_eq!(push(&harness, "a", PUSH, b"x").await.status, 504);
    assert_eq!(push(&harness, "a", PUSH, b"x").await.status, 409);

    harness.log.go_on.notify_one();
    let again = async {
        loop {
            let answer = push(&harness, "a", PUSH, b"x").await;
            if answer.status != 409 {
                return answer;
            }
        }
    };
    let again = timeout(PATIENCE, again).await.expect("an answer");

    assert_eq!((again.status, &*again.body), (200, ACCEPTED));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(harness.published().len(), 1);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let harness = start();

    for key in ["", &"k".repeat(256), "k\u{e9}"] {
        assert_eq!(push(&harness, key, PUSH, b"x").await.status, 400, "{key}");
    }
    assert!(harness.published().is_empty());
}
