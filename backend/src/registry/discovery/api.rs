//! Calls to discovery.

use std::time::Duration;

use bytes::BytesMut;
use rand::seq::SliceRandom;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{DiscoveryConfig, RegistryError};

/// Nothing has changed since the timestamp of a poll.
pub(super) const NOT_MODIFIED: i64 = -304;
/// No such node or application.
pub(super) const NOTHING_FOUND: i64 = -404;

/// An answer has every instance of an application, each some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The discovery nodes, of which one is asked until it fails.
#[derive(Clone, Debug)]
pub(super) struct Api {
    client: Client,
    nodes: Vec<Url>,
    at: usize,
    timeout: Duration,
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The node cannot be reached, or takes too long.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// The node is not itself.
    #[error("answers with status {0}")]
    Status(StatusCode),
    /// What answers is no discovery.
    #[error("answers with what is not discovery's: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The answer has no end.
    #[error("answers with more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// The node refuses, by a code of its own.
    #[error("refuses with code {0}")]
    Code(i64),
}

#[derive(Deserialize)]
struct Reply<T> {
    code: i64,
    data: Option<T>,
}

impl Api {
    pub(super) fn new(config: &DiscoveryConfig) -> Result<Self, RegistryError> {
        let mut nodes = urls(&config.nodes)?;
        // Spreads the nodes of the system over those of discovery.
        nodes.shuffle(&mut rand::rng());
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // Spares machines without root certificates from needing some.
            .tls_certs_only([])
            .connect_timeout(config.timeout)
            .build()
            .map_err(|error| RegistryError::new("discovery.nodes", error.to_string()))?;
        Ok(Self {
            client,
            nodes,
            at: 0,
            timeout: config.timeout,
        })
    }

    /// Calls for an effect, on the first node that can be reached.
    pub(super) async fn post(
        &mut self,
        call: &str,
        params: &[(&str, &str)],
    ) -> Result<(), ApiError> {
        let mut nodes_left = self.nodes.len();
        loop {
            // The data of these answers says no more than their code.
            let result = self
                .attempt::<IgnoredAny>(Method::POST, call, params, self.timeout)
                .await;
            nodes_left -= 1;
            match result {
                Ok(_) => return Ok(()),
                Err(error @ ApiError::Code(_)) => return Err(error),
                Err(error) => {
                    self.leave_node();
                    if nodes_left == 0 {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Calls for data, which discovery may leave out.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        call: &str,
        params: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Option<T>, ApiError> {
        let result = self.attempt(Method::GET, call, params, timeout).await;
        match &result {
            Ok(_) | Err(ApiError::Code(NOT_MODIFIED | NOTHING_FOUND)) => {}
            Err(_) => self.leave_node(),
        }
        result
    }

    fn leave_node(&mut self) {
        self.at = (self.at + 1) % self.nodes.len();
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        method: Method,
        call: &str,
        params: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Option<T>, ApiError> {
        let mut url = self.nodes[self.at].clone();
        url.set_path(&format!("{}{call}", url.path()));
        url.query_pairs_mut().extend_pairs(params);
        let request = if method == Method::POST {
            let form = url.query().unwrap_or_default().to_owned();
            url.set_query(None);
            self.client
                .post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        } else {
            self.client.get(url)
        };
        let response = request.timeout(timeout).send().await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(ApiError::Status(status));
        }
        let reply: Reply<T> = serde_json::from_slice(&body(response).await?)?;
        match reply.code {
            0 => Ok(reply.data),
            code => Err(ApiError::Code(code)),
        }
    }
}

/// Where the calls of each node are, of which there must be one.
pub(super) fn urls(nodes: &[String]) -> Result<Vec<Url>, RegistryError> {
    let invalid = |problem| RegistryError::new("discovery.nodes", problem);
    if nodes.is_empty() {
        return Err(invalid("is empty".to_owned()));
    }
    let urls = nodes.iter().map(|node| {
        Url::parse(&format!("http://{node}/discovery/"))
            .map_err(|_| invalid(format!("has {node:?}, which is not host:port")))
    });
    urls.collect()
}

async fn body(mut response: Response) -> Result<BytesMut, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > ANSWER_BYTES_MAX - body.len() {
            return Err(ApiError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
