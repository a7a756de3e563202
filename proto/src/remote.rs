//! Services in another process, behind the same traits as local ones.

use std::error::Error as _;

use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::{Code, Request, Response, Status};

use crate::goim::comet::comet_client::CometClient;
use crate::goim::comet::comet_server::Comet;
use crate::goim::comet::{
    BroadcastReply, BroadcastReq, BroadcastRoomReply, BroadcastRoomReq, PushMsgReply, PushMsgReq,
    RoomsReply, RoomsReq,
};
use crate::goim::logic::logic_client::LogicClient;
use crate::goim::logic::logic_server::Logic;
use crate::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReply, DisconnectReq, HeartbeatReply, HeartbeatReq,
    NodesReply, NodesReq, OnlineReply, OnlineReq, ReceiveReply, ReceiveReq,
};

/// Bytes of one gRPC message that a forwarder sends or takes at most, as in goim's clients.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Whether a node of goim's said no: all its errors have this one code. From the
/// transport it has a cause, and is no answer.
pub fn is_goims_error(status: &Status) -> bool {
    status.code() == Code::Unknown && status.source().is_none()
}

/// Rooms whose counts fill some kilobytes.
const COMPRESSED_ROOMS_MIN: usize = 64;

/// The way to another process: whatever a generated client can call through,
/// such as a channel or something that chooses between several.
pub trait Transport:
    GrpcService<
        Body,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        Error: Into<StdError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Transport for T where
    T: GrpcService<
            Body,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Error: Into<StdError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// A comet in another process.
#[derive(Clone, Debug)]
pub struct RemoteComet<T> {
    client: CometClient<T>,
}

impl<T: Transport> RemoteComet<T> {
    /// Forwards over `transport`.
    pub fn new(transport: T) -> Self {
        let client = CometClient::new(transport)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { client }
    }
}

#[tonic::async_trait]
impl<T: Transport> Comet for RemoteComet<T> {
    async fn push_msg(
        &self,
        request: Request<PushMsgReq>,
    ) -> Result<Response<PushMsgReply>, Status> {
        self.client.clone().push_msg(request).await
    }

    async fn broadcast(
        &self,
        request: Request<BroadcastReq>,
    ) -> Result<Response<BroadcastReply>, Status> {
        self.client.clone().broadcast(request).await
    }

    async fn broadcast_room(
        &self,
        request: Request<BroadcastRoomReq>,
    ) -> Result<Response<BroadcastRoomReply>, Status> {
        self.client.clone().broadcast_room(request).await
    }

    async fn rooms(&self, request: Request<RoomsReq>) -> Result<Response<RoomsReply>, Status> {
        self.client.clone().rooms(request).await
    }
}

/// Whether compressing the counts of so many rooms, the one large message of the
/// protocol and the one that goim compresses, saves more than it costs.
pub fn is_worth_compressing(rooms: usize) -> bool {
    rooms >= COMPRESSED_ROOMS_MIN
}

/// A logic in another process.
#[derive(Clone, Debug)]
pub struct RemoteLogic<T> {
    client: LogicClient<T>,
}

impl<T: Transport> RemoteLogic<T> {
    /// Forwards over `transport`; takes compressed answers, as goim's comet does.
    pub fn new(transport: T) -> Self {
        let client = LogicClient::new(transport)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Self { client }
    }
}

#[tonic::async_trait]
impl<T: Transport> Logic for RemoteLogic<T> {
    async fn connect(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, Status> {
        self.client.clone().connect(request).await
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectReq>,
    ) -> Result<Response<DisconnectReply>, Status> {
        self.client.clone().disconnect(request).await
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatReq>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        self.client.clone().heartbeat(request).await
    }

    async fn renew_online(
        &self,
        request: Request<OnlineReq>,
    ) -> Result<Response<OnlineReply>, Status> {
        let mut client = self.client.clone();
        if is_worth_compressing(request.get_ref().room_count.len()) {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.renew_online(request).await
    }

    async fn receive(
        &self,
        request: Request<ReceiveReq>,
    ) -> Result<Response<ReceiveReply>, Status> {
        self.client.clone().receive(request).await
    }

    async fn nodes(&self, request: Request<NodesReq>) -> Result<Response<NodesReply>, Status> {
        self.client.clone().nodes(request).await
    }
}
