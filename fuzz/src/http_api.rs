//! The HTTP API of logic.

use std::sync::LazyLock;

use halley_logic::HttpForTests;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const METHODS: [&str; 4] = ["POST", "GET", "HEAD", "DELETE"];
const PATHS: [&str; 13] = [
    "/goim/push/keys",
    "/goim/push/mids",
    "/goim/push/room",
    "/goim/push/all",
    "/goim/online/top",
    "/goim/online/room",
    "/goim/online/total",
    "/goim/nodes/weighted",
    "/goim/nodes/instances",
    "/goim/push/all/",
    "",
    "/v1/push",
    "/v1/rooms/hot",
];

/// One node for all inputs: what earlier ones pushed is nothing to later ones,
/// except that the push log may be full.
static NODE: LazyLock<(Runtime, HttpForTests)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("build a runtime");
    let http = runtime
        .block_on(HttpForTests::new())
        .expect("defaults are valid");
    (runtime, http)
});

/// Every request is answered with a status that the API documents, and what is
/// an envelope has the code that belongs to the status.
///
/// Data: method, path, then the query up to a line feed, then the body. The query
/// is the whole target where the path is empty.
pub fn http_api(data: &[u8]) {
    let [method, path, rest @ ..] = data else {
        return;
    };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let (query, body) = match rest.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let query = String::from_utf8_lossy(query);
    let target = match path {
        "" => query.into_owned(),
        path => format!("{path}?{query}"),
    };
    let (runtime, http) = &*NODE;
    let answer = runtime.block_on(http.answer(method, &target, body.to_vec()));
    if let Some((status, body)) = answer {
        check(status, &body);
    }
}

fn check(status: u16, body: &[u8]) {
    match status {
        301 | 307 => assert!(body.is_empty()),
        404 => assert_eq!(body, b"404 page not found"),
        200 if body.starts_with(b"<!doctype html>") => (),
        200 | 400 | 413 | 503 => {
            let envelope: Value = serde_json::from_slice(body).expect("an envelope is JSON");
            let code = envelope["code"].as_i64().expect("code is a number");
            assert!(envelope["message"].is_string());
            if status == 200 {
                assert!([0, -400, -500].contains(&code), "{code}");
                assert!(code == 0 || envelope.get("data").is_none());
            } else {
                assert_eq!(code, -i64::from(status));
            }
        }
        other => panic!("status {other}"),
    }
}
