//! Faulty requests at the real port: a few of each class.

use reqwest::Method;

use crate::support::{Answer, Gateway, raw, soon, user};
use halley_client::Transport;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PLAIN: &str = "text/plain";

/// Method and target; status, content type and text of the answer.
type Case = (Method, &'static str, u16, &'static str, &'static str);

#[rustfmt::skip]
const CASES: [Case; 12] = [
    // What does not bind is 400 as plain text, with the binder's words.
    (Method::POST, "/goim/push/room", 400, TEXT, "{\"code\":-400,\"message\":\"Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\\nKey: 'Type' Error:Field validation for 'Type' failed on the 'required' tag\\nKey: 'Room' Error:Field validation for 'Room' failed on the 'required' tag\"}"),
    (Method::POST, "/goim/push/all?operation=0", 400, TEXT, "{\"code\":-400,\"message\":\"Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\"}"),
    (Method::POST, "/goim/push/keys?operation=abc&keys=a", 400, TEXT, r#"{"code":-400,"message":"strconv.ParseInt: parsing \"abc\": invalid syntax"}"#),
    (Method::POST, "/goim/push/mids?operation=1&mids=1,2", 400, TEXT, r#"{"code":-400,"message":"strconv.ParseInt: parsing \"1,2\": invalid syntax"}"#),
    (Method::GET, "/goim/online/top?type=live&limit=-1", 400, TEXT, r#"{"code":-400,"message":"limit is negative"}"#),
    // What cannot be done is 200 with a negative code.
    (Method::POST, "/goim/push/keys?operation=1000", 200, JSON, r#"{"code":-400,"message":""}"#),
    (Method::POST, "/goim/push/room?operation=1&type=live&room=%ff", 200, JSON, r#"{"code":-500,"message":"string field contains invalid UTF-8"}"#),
    // What is not there is 404.
    (Method::GET, "/goim/push/all?operation=1", 404, PLAIN, "404 page not found"),
    (Method::POST, "/goim/online/total", 404, PLAIN, "404 page not found"),
    (Method::POST, "/1/push?uid=1", 404, PLAIN, "404 page not found"),
    (Method::DELETE, "/goim/nodes/weighted", 404, PLAIN, "404 page not found"),
    (Method::GET, "/", 404, PLAIN, "404 page not found"),
];

fn expect(answer: &Answer, case: &Case) {
    let (method, target, status, content_type, text) = case;
    assert_eq!(answer.status, *status, "{method} {target}");
    assert_eq!(answer.content_type, *content_type, "{method} {target}");
    assert_eq!(answer.text, *text, "{method} {target}");
}

#[tokio::test]
async fn faulty_requests_are_answered_as_by_goim() {
    let gateway = Gateway::start();
    let member = user(1, "member", "live://1");
    let mut member = gateway.log_in(Transport::Tcp, &member).await;

    for case in CASES {
        let (method, target, ..) = &case;
        let ask = gateway.api.ask(method.clone(), target, "x", |ask| ask);
        expect(&ask.await, &case);
    }

    // Nothing else is affected.
    gateway.api.push_ok("room?type=live&room=1", "good").await;
    assert_eq!(member.message().await, "good");
    assert_eq!(gateway.settled().await.comet.pushes, 1);
    gateway.drain().await;
}

#[tokio::test]
async fn strangers_and_large_bodies_are_refused() {
    let gateway = Gateway::start_with(|settings| {
        settings.logic.http.body_bytes_max = 1000;
        settings.logic.http.keys.extend(["secret".to_owned()]);
    });
    let push = async |key: &str, body: Vec<u8>| {
        let target = "/goim/push/all?operation=1000";
        let ask = gateway.api.ask(Method::POST, target, body, |request| {
            request.bearer_auth(key)
        });
        let answer = ask.await;
        (answer.status, answer.text)
    };

    let refused = r#"{"code":-401,"message":"missing or wrong key"}"#;
    assert_eq!(push("wrong", vec![0; 10]).await, (401, refused.to_owned()));
    let too_large = r#"{"code":-413,"message":"request body is larger than 1000 bytes"}"#;
    let answer = push("secret", vec![0; 1001]).await;
    assert_eq!(answer, (413, too_large.to_owned()));
    let accepted = r#"{"code":0,"message":""}"#;
    let answer = push("secret", vec![0; 1000]).await;
    assert_eq!(answer, (200, accepted.to_owned()));

    assert_eq!(gateway.settled().await.logic.handed_on, 1);
    gateway.drain().await;
}

#[tokio::test]
async fn a_port_is_no_place_for_the_other_protocol() {
    use tokio::io::AsyncWriteExt as _;

    let gateway = Gateway::start();
    let http = gateway.api.address();
    let (tcp, websocket) = (gateway.addresses.tcp[0], gateway.addresses.websocket[0]);

    for (address, bytes) in [
        (http, raw::login(&user(1, "a", ""))),
        (tcp, b"GET /sub HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (websocket, raw::login(&user(1, "a", ""))),
    ] {
        let mut stream = raw::small(address).await;
        stream.write_all(&bytes).await.expect("sent");
        let answer = soon("an end", raw::rest(&mut stream)).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "));
    }
    gateway.drain().await;
}
