//! A backend and an operator: the HTTP port.

use std::net::SocketAddr;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use halley_tests::metrics::Samples;

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    address: SocketAddr,
}

/// An answer in goim's envelope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) text: String,
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            client: client.expect("a client"),
            address,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, "", |request| request).await
    }

    /// Pushes `body` as `what` says: `room?type=live&room=1`.
    pub(crate) async fn push(&self, what: &str, body: impl Into<reqwest::Body>) -> Answer {
        let target = format!("/goim/push/{what}&operation=1000");
        self.ask(Method::POST, &target, body, |request| request)
            .await
    }

    /// Pushes what must be accepted.
    pub(crate) async fn push_ok(&self, what: &str, body: impl Into<reqwest::Body>) {
        let answer = self.push(what, body).await;
        assert_eq!(
            (answer.status, &*answer.text),
            (200, r#"{"code":0,"message":""}"#)
        );
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &str,
        body: impl Into<reqwest::Body>,
        and: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Answer {
        let url = format!("http://{}{target}", self.address);
        let request = self.client.request(method, url);
        let response = and(request.body(body)).send().await.expect("an answer");
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(RETRY_AFTER).map(|value| value.parse().expect("seconds")),
            text: response.text().await.expect("a whole answer"),
        }
    }

    pub(crate) async fn metrics(&self) -> Samples {
        Samples::parse(&self.get("/metrics").await.text)
    }
}

impl Answer {
    /// What a question was answered with.
    pub(crate) fn data(&self) -> Value {
        let mut envelope: Value = serde_json::from_str(&self.text).expect("json");
        assert_eq!(envelope["code"], 0, "{}", self.text);
        envelope["data"].take()
    }
}
