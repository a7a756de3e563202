//! `/v1/push`: many messages in one request, each with a result of its own.

use std::time::Duration;

use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;

use crate::harness::{Answer, Harness, LogMood};

async fn push(logic: &Harness, body: &str) -> Answer {
    logic.send("POST", "/v1/push", body.as_bytes()).await
}

fn results(results: &str) -> String {
    format!(r#"{{"code":0,"message":"","data":{{"results":[{results}]}}}}"#)
}

async fn two_devices() -> Harness {
    let logic = Harness::start(|_| {});
    logic.bind(7, "phone", "comet-1").await;
    logic.bind(7, "tablet", "comet-2").await;
    logic
}

#[tokio::test]
async fn every_kind_of_target_in_one_request() {
    let logic = two_devices().await;

    let answer = push(
        &logic,
        r#"{"messages":[
            {"operation":1000,"keys":["phone","gone","tablet"],"text":"to keys \u00e9"},
            {"operation":1001,"mids":[7,8],"base64":"AP8="},
            {"operation":1002,"room":"live://1","json":{"a": [1]}},
            {"operation":1003,"all":true,"speed":64,"text":""}
        ]}"#,
    )
    .await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let expected = results(concat!(
        r#"{"accepted":2,"offline":["gone"]},"#,
        r#"{"accepted":2,"offline":["8"]},"#,
        r#"{"accepted":1,"offline":[]},"#,
        r#"{"accepted":1,"offline":[]}"#,
    ));
    assert_eq!(answer.body, expected);
    let to_keys = |server: &str, key: &str, operation, msg: &[u8]| PushMsg {
        r#type: Type::Push.into(),
        operation,
        server: server.to_owned(),
        keys: vec![key.to_owned()],
        msg: msg.to_vec().into(),
        ..PushMsg::default()
    };
    let records = vec![
        to_keys("comet-1", "phone", 1000, "to keys é".as_bytes()),
        to_keys("comet-2", "tablet", 1000, "to keys é".as_bytes()),
        to_keys("comet-1", "phone", 1001, &[0, 255]),
        to_keys("comet-2", "tablet", 1001, &[0, 255]),
        PushMsg {
            r#type: Type::Room.into(),
            operation: 1002,
            room: "live://1".to_owned(),
            msg: r#"{"a": [1]}"#.into(),
            ..PushMsg::default()
        },
        PushMsg {
            r#type: Type::Broadcast.into(),
            operation: 1003,
            speed: 64,
            ..PushMsg::default()
        },
    ];
    assert_eq!(logic.published(), [records]);
}

#[tokio::test]
async fn what_is_wrong_with_one_message_concerns_no_other() {
    let logic = two_devices().await;
    let wrong = [
        (r#"{"operation":1,"keys":[],"text":""}"#, "no keys"),
        (
            r#"{"operation":1,"text":""}"#,
            "one of keys, mids, room and all is needed",
        ),
        (
            r#"{"operation":1,"room":"","text":""}"#,
            "one of keys, mids, room and all is needed",
        ),
        (
            r#"{"operation":1,"keys":["a"],"mids":[1],"text":""}"#,
            "one of keys, mids, room and all is needed",
        ),
        (
            r#"{"operation":1,"keys":["a"]}"#,
            "one of text, base64 and json is needed",
        ),
        (
            r#"{"operation":1,"keys":["a"],"text":"a","json":1}"#,
            "one of text, base64 and json is needed",
        ),
        (
            r#"{"operation":1,"keys":["a"],"speed":1,"text":""}"#,
            "speed is for all",
        ),
        (
            r#"{"operation":1,"keys":["a"],"base64":"?"}"#,
            "base64: Invalid symbol 63, offset 0.",
        ),
        (
            r#"{"keys":["a"],"text":""}"#,
            "missing field `operation` at line 1 column 24",
        ),
        (r#"{"operation":1,"key":"a","text":""}"#, ""),
        ("[1]", ""),
        (r#""text""#, ""),
    ];
    let messages = wrong.map(|(message, _)| message).join(",");
    let good = r#"{"operation":2,"keys":["phone"],"text":"good"}"#;

    let answer = push(
        &logic,
        &format!(r#"{{"messages":[{good},{messages},{good}]}}"#),
    )
    .await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let results = answer["data"]["results"].as_array().unwrap();
    assert_eq!(results.len(), wrong.len() + 2);
    assert_eq!(results[0]["accepted"], 1);
    assert_eq!(results[wrong.len() + 1]["accepted"], 1);
    for (result, (message, error)) in results[1..].iter().zip(wrong) {
        let text = result["error"].as_str().unwrap();
        assert!(!text.is_empty(), "{message}");
        assert!(error.is_empty() || text == error, "{message}: {text}");
    }
    assert_eq!(logic.published()[0].len(), 2);
}

#[tokio::test]
async fn a_body_that_is_no_batch_is_refused() {
    let logic = two_devices().await;

    for body in [
        "",
        "{}",
        "[]",
        "{",
        r#"{"messages":1}"#,
        r#"{"messages":[],"more":1}"#,
        r#"{"messages":[{]}"#,
        "\u{fffd}",
    ] {
        let answer = push(&logic, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(
            answer.body.starts_with(r#"{"code":-400,"#),
            "{}",
            answer.body
        );
    }
    let answer = push(&logic, r#"{"messages":[]}"#).await;
    assert_eq!((answer.status, answer.body), (200, results("")));
    assert!(logic.published().is_empty());
}

#[tokio::test]
async fn all_or_nothing_is_taken_and_the_limits_hold() {
    let logic = Harness::start(|config| {
        config.push.targets_max = 3;
        config.push.batch_targets_max = 5;
    });
    logic.bind(1, "a", "comet-1").await;
    let batch = |keys: &[&str]| {
        let message = |keys: &&str| format!(r#"{{"operation":1,"keys":{keys},"text":"x"}}"#);
        let messages: Vec<_> = keys.iter().map(message).collect();
        format!(r#"{{"messages":[{}]}}"#, messages.join(","))
    };

    let answer = push(&logic, &batch(&[r#"["a","b","c","d"]"#, r#"["a"]"#])).await;
    let many = r#"{"error":"4 targets are more than the 3 of one push"}"#;
    let one = r#"{"accepted":1,"offline":[]}"#;
    assert_eq!(answer.body, results(&format!("{many},{one}")));

    let answer = push(
        &logic,
        &batch(&[r#"["a","b","c"]"#, r#"["a"]"#, "[]", "[]"]),
    )
    .await;
    assert_eq!(answer.status, 413, "{}", answer.body);

    *logic.log.mood.lock() = LogMood::Full(Duration::from_secs(3));
    let answer = push(&logic, &batch(&[r#"["a"]"#, "[]"])).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("3"))
    );
    assert_eq!(logic.published().len(), 1);
}

#[tokio::test]
async fn a_batch_is_not_done_twice_under_one_idempotency_key() {
    let logic = two_devices().await;
    let body = br#"{"messages":[{"operation":1,"keys":["phone"],"text":"x"}]}"#;
    let key = "Idempotency-Key: one\r\n";

    let first = logic.send_with("POST", "/v1/push", key, body).await;
    let again = logic.send_with("POST", "/v1/push", key, body).await;

    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(logic.published().len(), 1);
}

#[tokio::test]
async fn an_api_key_is_asked_for() {
    let logic = Harness::start(|config| config.http.keys.extend(["one".to_owned()]));
    assert_eq!(push(&logic, r#"{"messages":[]}"#).await.status, 401);
    assert_eq!(logic.send("GET", "/v1/push", b"").await.status, 404);
}
