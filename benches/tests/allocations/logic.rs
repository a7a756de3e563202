//! A logic that believes every client and knows of no other comet.

use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReply, DisconnectReq, HeartbeatReply, HeartbeatReq,
    NodesReply, NodesReq, OnlineReply, OnlineReq, ReceiveReply, ReceiveReq,
};
use halley_wire::AuthBody;
use tonic::{Request, Response, Status};

/// Longer than any test.
const HEARTBEAT_NS: i64 = 480_000_000_000;

/// See the [module](self).
pub(crate) struct BelievingLogic;

#[tonic::async_trait]
impl Logic for BelievingLogic {
    async fn connect(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, Status> {
        let body = AuthBody::parse(&request.into_inner().token);
        let body = body.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Response::new(ConnectReply {
            mid: body.mid,
            key: body.key,
            room_id: body.room_id,
            accepts: body.accepts,
            heartbeat: HEARTBEAT_NS,
        }))
    }

    async fn disconnect(
        &self,
        _: Request<DisconnectReq>,
    ) -> Result<Response<DisconnectReply>, Status> {
        Ok(Response::new(DisconnectReply { has: true }))
    }

    async fn heartbeat(
        &self,
        _: Request<HeartbeatReq>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        Ok(Response::new(HeartbeatReply {}))
    }

    async fn renew_online(
        &self,
        request: Request<OnlineReq>,
    ) -> Result<Response<OnlineReply>, Status> {
        Ok(Response::new(OnlineReply {
            all_room_count: request.into_inner().room_count,
        }))
    }

    async fn receive(&self, _: Request<ReceiveReq>) -> Result<Response<ReceiveReply>, Status> {
        Ok(Response::new(ReceiveReply {}))
    }

    async fn nodes(&self, _: Request<NodesReq>) -> Result<Response<NodesReply>, Status> {
        Err(Status::unimplemented("not a comet's business"))
    }
}
