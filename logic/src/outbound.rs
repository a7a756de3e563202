//! HTTP requests to services of the operator.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response, Url, redirect};

/// A client for the service at `url`, whose requests take `timeout` at most.
///
/// It follows no redirect: a service that could send tokens or messages
/// elsewhere would decide who sees them.
pub(crate) fn client(url: &Url, timeout: Duration) -> anyhow::Result<Client> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .timeout(timeout);
    match url.scheme() {
        "https" => builder = builder.https_only(true),
        // Spares machines without root certificates from needing some.
        "http" => builder = builder.tls_certs_only([]),
        scheme => anyhow::bail!("url has the scheme `{scheme}`, neither http nor https"),
    }
    Ok(builder.build()?)
}

/// The body of a response, or `None` when it is larger than `bytes_max`.
pub(crate) async fn body(
    mut response: Response,
    bytes_max: usize,
) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > bytes_max - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
