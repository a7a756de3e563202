use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use futures_util::future::MapErr;
use http::header::AUTHORIZATION;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::body::Body;
use tonic::transport::{self, Channel, Endpoint};
use tonic::{Status, TimeoutExpired};
use tower::{Service, service_fn};

use super::Trust;

/// What registries write before an address.
const SCHEME: &str = "grpc://";

/// How connections to other nodes are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Time to connect, including a TLS handshake.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Silence after which a node is asked whether it still lives, while it has
    /// calls of ours.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// Time in which it must answer that.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// Ask also while it has none. goim's servers end connections that do.
    pub keepalive_while_idle: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            keepalive_while_idle: false,
        }
    }
}

/// The operator's to correct: not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port")]
pub struct AddressError(String);

/// Connects to other nodes. Clones share one state.
#[derive(Clone, Debug)]
pub struct Client {
    trust: Trust,
    config: Arc<ClientConfig>,
}

impl Client {
    /// Connects as `trust` asks for.
    pub fn new(trust: &Trust, config: &ClientConfig) -> Self {
        Self {
            trust: trust.clone(),
            config: Arc::new(config.clone()),
        }
    }

    /// What it asks of the other nodes, and shows to them.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The way to a node at `host:port` or `grpc://host:port`. It connects on
    /// first use, and again whenever the connection is lost.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn connect(&self, address: &str) -> Result<Connection, AddressError> {
        let endpoint = self.endpoint(address)?;
        let trust = self.trust.clone();
        let connector = service_fn(move |uri: Uri| dial(trust.clone(), uri));
        Ok(Connection {
            channel: endpoint.connect_with_connector_lazy(connector),
            authorization: self.trust.authorization(),
        })
    }

    /// Whether [`connect`](Self::connect) takes the address.
    pub fn check(address: &str) -> Result<(), AddressError> {
        parse(address).map(drop)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, AddressError> {
        let authority = parse(address)?;
        let uri = |scheme| {
            Uri::builder()
                .scheme(scheme)
                .authority(authority.clone())
                .path_and_query("/")
                .build()
                .map_err(|_| AddressError(address.to_owned()))
        };
        let config = &self.config;
        let endpoint = Endpoint::from(uri(Scheme::HTTP)?)
            .connect_timeout(config.connect_timeout)
            .http2_keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout)
            .keep_alive_while_idle(config.keepalive_while_idle);
        if self.trust.is_tls() {
            // What tonic sees is a plain connection: TLS is our connector's.
            Ok(endpoint.origin(uri(Scheme::HTTPS)?))
        } else {
            Ok(endpoint)
        }
    }
}

fn parse(address: &str) -> Result<Authority, AddressError> {
    address
        .strip_prefix(SCHEME)
        .unwrap_or(address)
        .parse()
        .ok()
        .filter(|authority: &Authority| {
            authority.port_u16().is_some() && !authority.host().is_empty()
        })
        .ok_or_else(|| AddressError(address.to_owned()))
}

type Dialled = TokioIo<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// Connects to where `uri` points to.
async fn dial(trust: Trust, uri: Uri) -> io::Result<Dialled> {
    let host = uri.host().unwrap_or_default();
    // A URI has brackets around an IPv6 address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
    stream.set_nodelay(true)?;
    let stream = match trust.connector(host) {
        None => Either::Left(stream),
        Some(connector) => {
            let (connector, name) = connector.map_err(io::Error::other)?;
            Either::Right(Box::new(connector.connect(name, stream).await?))
        }
    };
    Ok(TokioIo::new(stream))
}

/// The way to one node, for any generated client. Clones share one connection.
///
/// A node that cannot be reached, or whose connection breaks, is
/// [`Unavailable`](tonic::Code::Unavailable); one that has not answered within
/// the time that the call carries is
/// [`DeadlineExceeded`](tonic::Code::DeadlineExceeded).
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    authorization: Option<HeaderValue>,
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future =
        MapErr<<Channel as Service<http::Request<Body>>>::Future, fn(transport::Error) -> Status>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context).map_err(unanswered)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(authorization) = &self.authorization {
            let authorization = authorization.clone();
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        self.channel.call(request).map_err(unanswered)
    }
}

/// tonic has other codes for some of the ways in which a connection breaks.
fn unanswered(error: transport::Error) -> Status {
    let mut status = {
        let mut cause: &(dyn Error + 'static) = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        if cause.is::<TimeoutExpired>() {
            Status::deadline_exceeded("node did not answer in time")
        } else {
            Status::unavailable(format!("node cannot be reached: {cause}"))
        }
    };
    status.set_source(Arc::new(error));
    status
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::grpc::testing::{Node, begin, begin_with, call, request};

    fn client() -> Client {
        Client::new(&Trust::default(), &ClientConfig::default())
    }

    #[tokio::test]
    async fn addresses_are_as_registries_write_them() {
        let node = Node::start(&Trust::default()).await;

        for address in [node.addr.clone(), format!("grpc://{}", node.addr)] {
            let connection = client().connect(&address).unwrap();
            assert_eq!(call(connection).await.unwrap(), tonic::Code::Ok);
        }
        for address in ["", "127.0.0.1", ":3119", "http://127.0.0.1:3119", "a b:1"] {
            assert!(Client::check(address).is_err(), "{address}");
        }
        Client::check("[::1]:3119").unwrap();
    }

    #[tokio::test]
    async fn a_node_that_is_away_is_unavailable_and_found_when_it_is_back() {
        let node = Node::start(&Trust::default()).await;
        let connection = client().connect(&node.addr).unwrap();

        node.set_away(true);
        let status = begin(connection.clone()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);

        node.set_away(false);
        assert_eq!(call(connection).await.unwrap(), tonic::Code::Ok);
    }

    #[tokio::test]
    async fn a_node_that_is_silent_exceeds_the_deadline() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = silent.local_addr().unwrap().to_string();
        let mut request = request();
        let timeout = HeaderValue::from_static("20m");
        request.headers_mut().insert("grpc-timeout", timeout);

        let connection = client().connect(&addr).unwrap();
        let status = begin_with(connection, request).await.unwrap_err();

        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
