//! What the HTTP API refuses beyond goim: strangers, too much, too late, and
//! pushes that the node cannot take now. Whatever is sent, it answers.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::harness::{Harness, LogMood};

const PUSH: &str = "/goim/push/room?operation=1&type=live&room=1";

#[tokio::test]
async fn pushes_need_a_key_when_there_are_keys() {
    let harness = Harness::start(|config| {
        config
            .http
            .keys
            .extend(["one".to_owned(), "two".to_owned()]);
    });

    for headers in [
        "",
        "Authorization: Bearer three\r\n",
        "Authorization: Basic one\r\n",
        "Authorization: Bearer \r\n",
    ] {
        let answer = harness.send_with("POST", PUSH, headers, b"x").await;
        assert_eq!(answer.status, 401, "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(
            answer.body,
            r#"{"code":-401,"message":"missing or wrong key"}"#
        );
    }
    assert!(harness.published().is_empty());

    let headers = "Authorization: Bearer two\r\n";
    let answer = harness.send_with("POST", PUSH, headers, b"x").await;
    assert_eq!(answer.status, 200);
    let open = harness.send("GET", "/goim/nodes/weighted", b"").await;
    assert_eq!(open.status, 200);
}

/// Some look for an answer only when they have sent everything.
#[tokio::test]
async fn a_body_that_nobody_wants_is_read_before_it_is_answered() {
    let harness = Harness::start(|config| {
        config.http.body_bytes_max = 1000;
        config.http.keys.extend(["one".to_owned()]);
    });
    let body = vec![0; 12 << 20];

    for (headers, status) in [("", 401), ("Authorization: Bearer one\r\n", 413)] {
        let answer = harness.send_with("POST", PUSH, headers, &body).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let harness = Harness::start(|config| config.http.body_bytes_max = 1000);

    let fits = harness.send("POST", PUSH, &[0; 1000]).await;
    assert_eq!(fits.status, 200);
    let refused = r#"{"code":-413,"message":"request body is larger than 1000 bytes"}"#;
    let announced = harness.send("POST", PUSH, &[0; 1001]).await;
    assert_eq!((announced.status, &*announced.body), (413, refused));
    let chunked = format!(
        "POST {PUSH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         1f4\r\n{0:500}\r\n1f5\r\n{0:501}\r\n0\r\n\r\n",
        ""
    );
    let unannounced = harness.exchange(chunked.as_bytes()).await;
    assert_eq!((unannounced.status, &*unannounced.body), (413, refused));
    assert_eq!(harness.published().len(), 1);
    let metrics = harness.send("GET", "/metrics", b"").await.body;
    let counted = r#"halley_logic_pushes_total{kind="room",outcome="refused"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_push_has_a_limit_of_targets() {
    let harness = Harness::start(|config| config.push.targets_max = 2);

    for target in [
        "/goim/push/keys?keys=1&keys=2&keys=3",
        "/goim/push/mids?mids=1&mids=2&mids=3",
    ] {
        let answer = harness.send("POST", target, b"").await;
        assert_eq!(answer.status, 413);
        assert_eq!(
            answer.body,
            r#"{"code":-413,"message":"3 targets are more than the 2 of one push"}"#
        );
    }
}

#[tokio::test]
async fn a_full_push_log_is_said_and_for_how_long() {
    let harness = Harness::start(|_| ());
    *harness.log.mood.lock() = LogMood::Full(Duration::from_millis(1500));

    let answer = harness.send("POST", PUSH, b"").await;

    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(answer.body, r#"{"code":-503,"message":"push log is full"}"#);
}

#[tokio::test]
async fn what_the_push_log_cannot_hold_is_too_large() {
    let harness = Harness::start(|_| ());
    *harness.log.mood.lock() = LogMood::TooLarge;

    let answer = harness.send("POST", PUSH, b"").await;

    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.body,
        r#"{"code":-413,"message":"push is too large for the push log"}"#
    );
}

#[tokio::test]
async fn a_closed_push_log_sends_to_another_node() {
    let harness = Harness::start(|_| ());
    *harness.log.mood.lock() = LogMood::Closed;

    let answer = harness.send("POST", PUSH, b"").await;

    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.body, r#"{"code":-503,"message":"node is draining"}"#);
}

#[tokio::test]
async fn a_draining_node_still_answers_questions() {
    let harness = Harness::start(|_| ());
    harness.drain.cancel();

    let refused = loop {
        let answer = harness.send("POST", PUSH, b"").await;
        if answer.status != 200 {
            break answer;
        }
    };

    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.body,
        r#"{"code":-503,"message":"node is draining"}"#
    );
    let open = harness.send("GET", "/goim/online/total", b"").await;
    assert_eq!(open.status, 200);
}

#[tokio::test]
async fn a_request_has_a_deadline() {
    let harness = Harness::start(|config| config.http.request_timeout = Duration::from_millis(50));
    *harness.log.mood.lock() = LogMood::Hangs;

    let hung = harness.send("POST", PUSH, b"").await;
    let never_sent = format!(
        "POST {PUSH} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nab"
    );
    let slow = harness.exchange(never_sent.as_bytes()).await;

    for answer in [hung, slow] {
        assert_eq!(answer.status, 504);
        assert_eq!(
            answer.body,
            r#"{"code":-504,"message":"request took too long"}"#
        );
    }
}

#[tokio::test]
async fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
    let forwarded = "X-Forwarded-For: 10.1.2.3\r\n";
    let first_node = async |is_trusted: bool| {
        let harness = Harness::start(|config| {
            let networks = vec!["10.1.0.0/16".parse().unwrap()];
            config.nodes.regions.insert("sh".to_owned(), networks);
            if is_trusted {
                config
                    .http
                    .trusted_proxies
                    .push("127.0.0.1".parse().unwrap());
            }
        });
        for (hostname, region) in [("near", "sh"), ("other", "bj")] {
            let status = halley_proto::halley::node::NodeStatus {
                hostname: hostname.to_owned(),
                region: region.to_owned(),
                addrs: vec![hostname.to_owned()],
                weight: 10,
                conn_count: if region == "sh" { 110 } else { 100 },
                ..Default::default()
            };
            harness.renew(&status, &[]).await;
        }
        let target = "/goim/nodes/weighted";
        let answer = harness.send_with("GET", target, forwarded, b"").await;
        answer.body.contains(r#""nodes":["near","other"]"#)
    };

    assert!(first_node(true).await);
    assert!(!first_node(false).await);
}

#[tokio::test]
async fn the_demo_page_can_be_turned_off() {
    let harness = Harness::start(|_| ());
    let page = harness.send("GET", "/demo", b"").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );

    let harness = Harness::start(|config| config.http.demo = false);
    assert_eq!(harness.send("GET", "/demo", b"").await.status, 404);
}

#[tokio::test]
async fn requests_and_pushes_are_counted() {
    let harness = Harness::start(|_| ());
    harness.bind(0, "a", "s1").await;
    harness
        .send("POST", "/goim/push/keys?keys=a&keys=b", b"")
        .await;
    harness.send("POST", "/goim/push/keys?keys=%zz", b"").await;
    harness.send("GET", "/nowhere", b"").await;

    let metrics = harness.send("GET", "/metrics", b"").await.body;

    for line in [
        r#"halley_logic_pushes_total{kind="keys",outcome="accepted"} 1"#,
        r#"halley_logic_pushes_total{kind="keys",outcome="offline"} 1"#,
        r#"halley_logic_pushes_total{kind="keys",outcome="refused"} 1"#,
        r#"halley_logic_http_requests_total{route="push_keys",status="200"} 2"#,
        r#"halley_logic_http_requests_total{route="unknown",status="404"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// Paths and parameters that exist, with values that do not belong there.
fn requests() -> impl Strategy<Value = (&'static str, String, Vec<u8>)> {
    let method = prop_oneof![3 => Just("POST"), 3 => Just("GET"), 1 => Just("DELETE")];
    let path = prop_oneof![
        8 => "/goim/(push/(keys|mids|room|all)|online/(top|room|total)|nodes/(weighted|instances))",
        1 => "/[a-z%/.]{0,12}",
    ];
    let name = "(operation|keys|mids|type|room|rooms|speed|limit|platform|receipt|[a-z%+]{0,3})";
    let value = prop_oneof![
        "-?[0-9]{0,21}",
        "[ -~&&[^ #<>\"{}|^`\\\\]]{0,12}",
        "(%[0-9a-fA-F]{2}){0,6}",
        Just("1000".to_owned()),
    ];
    let parameters = proptest::collection::vec((name, value), 0..6);
    let body = proptest::collection::vec(any::<u8>(), 0..64);
    (method, path, parameters, body).prop_map(|(method, path, parameters, body)| {
        let query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (method, format!("{path}?{}", query.join("&")), body)
    })
}

#[test]
fn every_request_is_answered_and_none_with_500() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let harness = runtime.block_on(async { Harness::start(|_| ()) });
    runtime.block_on(harness.bind(1, "a", "s1"));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });

    runner
        .run(&requests(), |(method, target, body)| {
            let answer = runtime.block_on(harness.send(method, &target, &body));
            prop_assert!(answer.status < 500, "{method} {target}: {answer:?}");
            Ok(())
        })
        .unwrap();
}
