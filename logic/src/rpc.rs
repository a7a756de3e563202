//! goim's gRPC service, over the [`Core`].
//!
//! Errors have goim's shape, status `UNKNOWN` and a text, except that a login
//! which is refused is `UNAUTHENTICATED`, one that nobody can decide about now
//! is `UNAVAILABLE`, and one that this node has no room for is
//! `RESOURCE_EXHAUSTED`: another node may have.

mod measured;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::sessions::{Binding, SessionsError};
use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReply, DisconnectReq, HeartbeatReply, HeartbeatReq,
    NodesReply, NodesReq, OnlineReply, OnlineReq, ReceiveReply, ReceiveReq,
};
use halley_proto::metadata;
use halley_proto::remote::is_worth_compressing;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use self::measured::Measured;
use crate::auth::{AuthError, Credentials, Identity};
use crate::config::NodesConfig;
use crate::core::Core;
use crate::limit::Shed;
use crate::metrics::{ConnectOutcome, RpcMethod};
use crate::sink::Message;

/// The service. Clones share one core.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    core: Arc<Core>,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Sessions(#[from] SessionsError),
    #[error(transparent)]
    Shed(#[from] Shed),
}

impl Rpc {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn log_in(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, ConnectError> {
        let permit = self.core.limits.connect.enter().await?;
        let result = self.authenticate_and_bind(request).await;
        permit.end(result.as_ref().map_or_else(ConnectError::is_late, |_| true));
        result
    }

    async fn authenticate_and_bind(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, ConnectError> {
        let connection = metadata::connection(request.metadata());
        let is_refresh = metadata::is_refresh(request.metadata());
        let login = request.into_inner();
        self.core.nodes.called(&login.server);
        let identity = self
            .core
            .auth
            .authenticate(Credentials {
                server: &login.server,
                cookie: &login.cookie,
                token: &login.token,
            })
            .await?;
        let Identity {
            mid,
            key,
            room_id,
            accepts,
            grant,
        } = identity;
        let key = if is_refresh {
            // The connection has its name already. It is compared with one that
            // the token gives, and an empty one says that the token gives none.
            key.into_given().unwrap_or_default()
        } else {
            let seed = connection.map(|number| seed(number, &login));
            let key = key.into_name(seed.as_deref());
            self.core
                .sessions
                .bind(Binding {
                    mid,
                    key: key.clone(),
                    server: login.server,
                    connection: connection.unwrap_or_default(),
                })
                .await?;
            key
        };
        let mut response = small(ConnectReply {
            mid,
            key,
            room_id,
            accepts,
            heartbeat: heartbeat_ns(&self.core.config.nodes),
        });
        if let Some(grant) = grant {
            metadata::set_grant(response.metadata_mut(), &grant);
        }
        let outcome = if is_refresh {
            ConnectOutcome::Refreshed
        } else {
            ConnectOutcome::Accepted
        };
        self.core.metrics.connect(outcome);
        Ok(response)
    }

    /// Tells a comet whether the sessions lost its bindings. An answer without
    /// an epoch leaves it with the last one it heard of.
    async fn add_epoch(&self, metadata: &mut MetadataMap) {
        match self.core.sessions.epoch().await {
            Ok(Some(epoch)) => metadata::set_epoch(metadata, epoch),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "sessions do not tell their epoch"),
        }
    }

    fn measure(&self, method: RpcMethod) -> Measured {
        Measured::start(&self.core.metrics, method)
    }
}

#[tonic::async_trait]
impl Logic for Rpc {
    async fn connect(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, Status> {
        let measured = self.measure(RpcMethod::Connect);
        let result = self.log_in(request).await.map_err(|error| {
            self.core.metrics.connect(error.outcome());
            // Whom it concerns knows by the metric; a line for each would let
            // anyone fill the log.
            tracing::debug!(%error, "login failed");
            Status::from(error)
        });
        measured.end(result)
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectReq>,
    ) -> Result<Response<DisconnectReply>, Status> {
        let measured = self.measure(RpcMethod::Disconnect);
        let connection = metadata::connection(request.metadata());
        let DisconnectReq { mid, key, server } = request.into_inner();
        self.core.nodes.called(&server);
        let result = self
            .core
            .sessions
            .unbind_if(mid, &key, &server, connection)
            .await
            .map(|has| small(DisconnectReply { has }))
            .map_err(|error| unavailable(&error));
        measured.end(result)
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatReq>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        let measured = self.measure(RpcMethod::Heartbeat);
        let connection = metadata::connection(request.metadata()).unwrap_or_default();
        let HeartbeatReq { mid, key, server } = request.into_inner();
        self.core.nodes.called(&server);
        let result = self
            .core
            .sessions
            .renew(Binding {
                mid,
                key,
                server,
                connection,
            })
            .await
            .map(|()| small(HeartbeatReply {}))
            .map_err(|error| unavailable(&error));
        measured.end(result)
    }

    async fn renew_online(
        &self,
        request: Request<OnlineReq>,
    ) -> Result<Response<OnlineReply>, Status> {
        let measured = self.measure(RpcMethod::RenewOnline);
        if let Some(status) = metadata::node(request.metadata()) {
            self.core.nodes.observe(status);
        }
        let hot_rooms = metadata::hot_rooms(request.metadata());
        let OnlineReq { server, room_count } = request.into_inner();
        self.core.heat.tell(&server, hot_rooms);
        self.core.nodes.called(&server);
        let result = match self.core.online.renew(&server, room_count).await {
            Ok(totals) => {
                let reply = OnlineReply {
                    all_room_count: Arc::unwrap_or_clone(totals),
                };
                let mut response = if is_worth_compressing(reply.all_room_count.len()) {
                    Response::new(reply)
                } else {
                    small(reply)
                };
                self.add_epoch(response.metadata_mut()).await;
                Ok(response)
            }
            Err(error) => Err(unavailable(&error)),
        };
        measured.end(result)
    }

    async fn receive(
        &self,
        request: Request<ReceiveReq>,
    ) -> Result<Response<ReceiveReply>, Status> {
        let measured = self.measure(RpcMethod::Receive);
        let ReceiveReq { mid, proto } = request.into_inner();
        let Some(proto) = proto else {
            return measured.end(Err(Status::unknown("rpc receive arg error")));
        };
        let outcome = self.core.sink.push(Message {
            mid,
            op: proto.op,
            seq: proto.seq,
            ver: proto.ver,
            body: proto.body,
        });
        // The client is answered in any case: what the sink drops is counted
        // here and not worth another attempt of its comet.
        self.core.metrics.receive(outcome);
        measured.end(Ok(small(ReceiveReply {})))
    }

    async fn nodes(&self, request: Request<NodesReq>) -> Result<Response<NodesReply>, Status> {
        let measured = self.measure(RpcMethod::Nodes);
        let NodesReq {
            platform,
            client_ip,
        } = request.into_inner();
        let nodes = &self.core.nodes;
        let region = nodes.region_of(client_ip.parse::<IpAddr>().ok());
        measured.end(Ok(small(nodes.weighted(&platform, region))))
    }
}

/// An answer that is not compressed: a compressor's tables are larger than it.
fn small<T>(message: T) -> Response<T> {
    let mut response = Response::new(message);
    response.disable_compression();
    response
}

impl ConnectError {
    /// Whether it took a backend to find out.
    fn is_late(&self) -> bool {
        matches!(
            self,
            Self::Auth(AuthError::Unavailable(_)) | Self::Sessions(_)
        )
    }

    fn outcome(&self) -> ConnectOutcome {
        match self {
            Self::Auth(AuthError::Malformed(_) | AuthError::Refused(_)) => ConnectOutcome::Refused,
            Self::Auth(AuthError::Unavailable(_)) => ConnectOutcome::Unavailable,
            Self::Sessions(_) => ConnectOutcome::SessionsFailed,
            Self::Shed(_) => ConnectOutcome::Shed,
        }
    }
}

impl From<ConnectError> for Status {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Auth(error @ (AuthError::Malformed(_) | AuthError::Refused(_))) => {
                Self::unauthenticated(error.to_string())
            }
            ConnectError::Auth(error @ AuthError::Unavailable(_)) => {
                Self::unavailable(error.to_string())
            }
            ConnectError::Sessions(error) => unavailable(&error),
            ConnectError::Shed(error) => Self::resource_exhausted(error.to_string()),
        }
    }
}

/// What tells a connection from every other one: a Connect that is repeated has
/// the same, so that its client does not end up with two names. Others cannot
/// know it, since it holds all that the client shows.
fn seed(connection: u64, login: &ConnectReq) -> Vec<u8> {
    let number = connection.to_be_bytes();
    let parts = [
        login.server.as_bytes(),
        login.cookie.as_bytes(),
        &login.token,
    ];
    let with_lengths = parts.map(|part| [&(part.len() as u64).to_be_bytes(), part].concat());
    [&number[..], &with_lengths.concat()].concat()
}

/// Another logic may reach the sessions: none of these calls does harm twice.
fn unavailable(error: &SessionsError) -> Status {
    Status::unavailable(error.to_string())
}

/// The idle deadline of a connection, in nanoseconds. Never 0, which would
/// close every connection at once.
fn heartbeat_ns(config: &NodesConfig) -> i64 {
    let deadline: Duration = config.heartbeat.saturating_mul(config.heartbeat_max);
    i64::try_from(deadline.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1)
}
