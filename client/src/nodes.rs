//! logic's list of nodes.

use std::time::Duration;

use serde::Deserialize;

use crate::backoff::Backoff;
use crate::endpoint::{Endpoint, Transport};

/// What logic recommends: nodes, best first, with their ports and its advice on heartbeats and reconnecting.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeList {
    /// The name to use when there is no node.
    pub domain: String,
    /// TCP port of every node.
    pub tcp_port: u16,
    /// WebSocket port of every node.
    pub ws_port: u16,
    /// Port of WebSocket inside TLS of every node.
    pub wss_port: u16,
    /// Time between heartbeats, seconds; 0 means no advice.
    pub heartbeat: u32,
    /// Host names or addresses, best first.
    pub nodes: Vec<String>,
    /// Delays between attempts.
    pub backoff: Option<Backoff>,
    /// Heartbeats after which the server gives a silent client up.
    pub heartbeat_max: u32,
}

/// The node list could not be fetched; worth another attempt later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// The base URL is no URL: the caller's fault.
    #[error("{url:?} is no url")]
    Url {
        /// What it is instead.
        url: String,
    },
    /// logic cannot be reached or answered with no list.
    #[error("fetch the node list")]
    Http(#[from] reqwest::Error),
    /// logic answered with an error code.
    #[error("logic answered code {code}: {message}")]
    Refused {
        /// goim's code, negative.
        code: i64,
        /// goim's message.
        message: String,
    },
    /// The list is longer than a node list can be.
    #[error("the answer exceeds {max} bytes")]
    TooLong {
        /// The limit, bytes.
        max: usize,
    },
    /// The answer is not goim's envelope around a node list.
    #[error("read the node list")]
    Json(#[from] serde_json::Error),
}

/// goim lists at most five nodes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Envelope {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: NodeList,
}

impl NodeList {
    /// Asks logic at `base_url` (for example `http://logic:3111`). `platform` is `web` for host names.
    pub async fn fetch(
        base_url: &str,
        platform: &str,
        timeout: Duration,
    ) -> Result<Self, NodesError> {
        let url = format!("{}/goim/nodes/weighted", base_url.trim_end_matches('/'));
        let url = reqwest::Url::parse_with_params(&url, [("platform", platform)])
            .map_err(|_| NodesError::Url { url })?;
        let client = reqwest::Client::builder().timeout(timeout).build()?;
        let mut response = client.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(NodesError::TooLong {
                    max: ANSWER_BYTES_MAX,
                });
            }
            body.extend_from_slice(&chunk);
        }
        let envelope: Envelope = serde_json::from_slice(&body)?;
        if envelope.code != 0 {
            return Err(NodesError::Refused {
                code: envelope.code,
                message: envelope.message,
            });
        }
        Ok(envelope.data)
    }

    /// The nodes as servers of `transport`, best first. A node that names its port keeps it.
    pub fn endpoints(&self, transport: Transport) -> Vec<Endpoint> {
        let advised = match transport {
            Transport::Tcp => self.tcp_port,
            Transport::Websocket => self.ws_port,
            Transport::TlsWebsocket => self.wss_port,
            Transport::TlsTcp => 0,
        };
        let port = if advised == 0 {
            transport.default_port()
        } else {
            advised
        };
        let nodes = if self.nodes.is_empty() {
            std::slice::from_ref(&self.domain)
        } else {
            &self.nodes
        };
        nodes
            .iter()
            .filter(|node| !node.is_empty())
            .map(|node| endpoint(node, transport, port))
            .collect()
    }
}

fn endpoint(node: &str, transport: Transport, port: u16) -> Endpoint {
    let bare = node.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Endpoint::new(transport, bare, port);
    }
    format!("{}://{node}", transport.scheme())
        .parse::<Endpoint>()
        .ok()
        .filter(|_| node.contains(':'))
        .unwrap_or_else(|| Endpoint::new(transport, node, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOIM: &str = r#"{"code":0,"message":"","data":{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,
        "wss_port":3103,"heartbeat":240,"nodes":["10.0.0.1","comet-2.goim.io"],
        "backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#;

    #[test]
    fn reads_goims_list() {
        let list = serde_json::from_str::<Envelope>(GOIM).unwrap().data;
        assert_eq!(list.heartbeat, 240);
        assert_eq!(list.backoff, Some(Backoff::default()));
        let printed: Vec<String> = list
            .endpoints(Transport::Websocket)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            printed,
            ["ws://10.0.0.1:3102/sub", "ws://comet-2.goim.io:3102/sub"]
        );
    }

    #[test]
    fn falls_back_to_the_domain_and_keeps_named_ports() {
        let mut list = NodeList {
            domain: "conn".to_owned(),
            ..NodeList::default()
        };
        assert_eq!(
            list.endpoints(Transport::Tcp),
            ["tcp://conn:3101".parse().unwrap()]
        );
        list.nodes = ["10.0.0.1:7", "::1", "[::1]", "[::1]:8", ""]
            .map(str::to_owned)
            .to_vec();
        let printed: Vec<String> = list
            .endpoints(Transport::Tcp)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            printed,
            [
                "tcp://10.0.0.1:7",
                "tcp://[::1]:3101",
                "tcp://[::1]:3101",
                "tcp://[::1]:8"
            ]
        );
    }
}
