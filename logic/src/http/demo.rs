//! `/demo`: one page that connects like any client and pushes like any
//! backend.

use aws_lc_rs::digest;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;

use super::Answer;

const PAGE: &str = include_str!("demo.html");

/// The page with the ports of the client listeners filled in.
#[derive(Debug)]
pub(super) struct Demo {
    page: Bytes,
    policy: HeaderValue,
}

impl Demo {
    pub(super) fn new(websocket_port: u16, tls_port: u16) -> Self {
        let page = PAGE
            .replace("{{ws_port}}", &websocket_port.to_string())
            .replace("{{wss_port}}", &tls_port.to_string());
        Self {
            policy: policy(&page),
            page: page.into(),
        }
    }

    pub(super) fn respond(&self) -> Answer {
        let mut response = Response::new(Full::new(self.page.clone()));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// Allows exactly the page's own script and style, its pushes, and its
/// WebSocket, whose port is another origin.
fn policy(page: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; \
         connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of(page, "<script>", "</script>"),
        hash_of(page, "<style>", "</style>"),
    );
    HeaderValue::try_from(policy).expect("invariant: the policy is ASCII")
}

fn hash_of(page: &str, open: &str, close: &str) -> String {
    let content = page
        .split_once(open)
        .and_then(|(_, rest)| rest.split_once(close))
        .map_or("", |(content, _)| content);
    let digest = digest::digest(&digest::SHA256, content.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_left_to_fill_in() {
        let demo = Demo::new(3102, 3103);
        let page = std::str::from_utf8(&demo.page).unwrap();

        assert!(page.contains(r#"data-ws-port="3102" data-wss-port="3103""#));
        assert!(!page.contains("{{"));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        assert!(!PAGE.contains("src=") && !PAGE.contains("http:") && !PAGE.contains("https:/"));
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
    }
}
