//! What a backend is told about whom its push did not reach.

use halley_client::Transport;
use serde_json::json;

use crate::support::{Gateway, user};

#[tokio::test]
async fn a_receipt_names_who_is_offline() {
    let gateway = Gateway::start();
    let here = user(1, "here", "live://1");
    let mut here = gateway.log_in(Transport::Websocket, &here).await;

    for (what, receipt) in [
        (
            "keys?keys=gone&keys=here&keys=away&receipt=1",
            json!({"accepted": 1, "offline": ["gone", "away"]}),
        ),
        (
            "mids?mids=1&mids=2&receipt=1",
            json!({"accepted": 1, "offline": ["2"]}),
        ),
        (
            "keys?keys=gone&receipt=1",
            json!({"accepted": 0, "offline": ["gone"]}),
        ),
        (
            "room?type=live&room=1&receipt=1",
            json!({"accepted": 1, "offline": []}),
        ),
        ("all?receipt=1", json!({"accepted": 1, "offline": []})),
    ] {
        let answer = gateway.api.push(what, what).await;
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.data(), receipt, "{what}");
    }

    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(here.message().await);
    }
    messages.sort_unstable();
    assert!(messages[0].starts_with("all?") && messages[1].starts_with("keys?keys=gone&keys=here"));
    gateway.drain().await;
}

#[tokio::test]
async fn without_asking_the_answer_is_goims() {
    let gateway = Gateway::start();

    for what in [
        "keys?keys=gone",
        "keys?keys=gone&receipt=0",
        "mids?mids=2",
        "room?type=live&room=1",
        "all?",
    ] {
        gateway.api.push_ok(what, "").await;
    }
    gateway.drain().await;
}
