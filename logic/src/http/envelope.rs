//! goim's answer envelope: `{"code":0,"message":""[,"data":…]}`.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;

use super::params::BindError;
use super::{Answer, go};

/// The request was wrong.
pub(super) const CODE_REQUEST: i32 = -400;
/// The server failed.
pub(super) const CODE_SERVER: i32 = -500;

const ACCEPTED: &str = r#"{"code":0,"message":""}"#;
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain");

/// The body of success without data.
pub(super) fn accepted_body() -> Bytes {
    Bytes::from_static(ACCEPTED.as_bytes())
}

/// The body of success with `data`, which is JSON.
pub(super) fn data_body(data: &str) -> Bytes {
    let mut body = String::with_capacity(ACCEPTED.len() + data.len() + 8);
    body.push_str(&ACCEPTED[..ACCEPTED.len() - 1]);
    body.push_str(r#","data":"#);
    body.push_str(data);
    body.push('}');
    body.into()
}

/// Success with `data`, which is JSON.
pub(super) fn data(data: &str) -> Answer {
    succeeded(data_body(data))
}

/// Success with a whole body.
pub(super) fn succeeded(body: Bytes) -> Answer {
    respond(StatusCode::OK, JSON, body)
}

/// Failure in the doing: goim answers 200 with a negative code.
pub(super) fn failed(code: i32, message: &str) -> Answer {
    respond(StatusCode::OK, JSON, envelope(code, message))
}

/// The query did not bind: goim answers 400 as plain text.
pub(super) fn unbound(error: &BindError) -> Answer {
    respond(
        StatusCode::BAD_REQUEST,
        TEXT,
        envelope(CODE_REQUEST, &error.0),
    )
}

/// A refusal that goim does not know: the status is the code.
pub(super) fn refused(status: StatusCode, message: &str) -> Answer {
    let code = -i32::from(status.as_u16());
    respond(status, JSON, envelope(code, message))
}

/// The server cannot take the request now; the client may come back after
/// `retry_after_s` seconds.
pub(super) fn unavailable(message: &str, retry_after_s: u64) -> Answer {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, message);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    response
}

/// The answer of goim's router to what it does not route.
pub(super) fn not_found() -> Answer {
    respond(
        StatusCode::NOT_FOUND,
        TEXT_PLAIN,
        Bytes::from_static(b"404 page not found"),
    )
}

/// An answer without body that carries one header.
pub(super) fn bare(status: StatusCode, name: HeaderName, value: HeaderValue) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}

fn envelope(code: i32, message: &str) -> String {
    let mut body = format!(r#"{{"code":{code},"message":"#);
    go::json_string(&mut body, message);
    body.push('}');
    body
}

fn respond(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
