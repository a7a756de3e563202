//! goim's service of a comet. One connection that is full, gone or does not
//! accept the operation never changes what the others get.

use std::collections::HashMap;
use std::sync::Arc;

use halley_proto::goim::comet::comet_server::Comet;
use halley_proto::goim::comet::{
    BroadcastReply, BroadcastReq, BroadcastRoomReply, BroadcastRoomReq, PushMsgReply, PushMsgReq,
    RoomsReply, RoomsReq,
};
use halley_proto::goim::protocol::Proto;
use tonic::{Request, Response, Status};

use crate::broadcast::{Broadcast, Broadcaster};
use crate::frame::Frame;
use crate::hub::Hub;
use crate::metrics::PushKind;
use crate::tally::Tally;
use crate::turns::WRITES_PER_LOOK;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Service {
    hub: Arc<Hub>,
    broadcaster: Arc<Broadcaster>,
}

impl Service {
    pub(crate) fn new(hub: Arc<Hub>, broadcaster: Arc<Broadcaster>) -> Self {
        Self { hub, broadcaster }
    }

    fn frame(&self, kind: PushKind, proto: &Proto) -> Result<Frame, Status> {
        Frame::new(proto).map_err(|error| {
            self.hub.malformed(kind);
            Status::invalid_argument(error.to_string())
        })
    }
}

/// goim answers faulty requests with this code and its own texts.
fn bad_request(text: &'static str) -> Status {
    Status::unknown(text)
}

#[tonic::async_trait]
impl Comet for Service {
    async fn push_msg(
        &self,
        request: Request<PushMsgReq>,
    ) -> Result<Response<PushMsgReply>, Status> {
        let request = request.into_inner();
        let proto = request.proto.filter(|_| !request.keys.is_empty());
        let proto = proto.ok_or_else(|| bad_request("rpc pushmsg arg error"))?;
        let frame = self.frame(PushKind::Keys, &proto)?;
        let mut tally = Tally::default();
        let mut turn = self.hub.turns.begin();
        for keys in request.keys.chunks(WRITES_PER_LOOK) {
            for key in keys {
                self.hub.push_key(key, request.proto_op, &frame, &mut tally);
            }
            turn.pass().await;
        }
        tally.report(&self.hub.metrics);
        Ok(Response::new(PushMsgReply {}))
    }

    async fn broadcast(
        &self,
        request: Request<BroadcastReq>,
    ) -> Result<Response<BroadcastReply>, Status> {
        let request = request.into_inner();
        let proto = request
            .proto
            .ok_or_else(|| bad_request("rpc broadcast arg error"))?;
        let broadcast = Broadcast {
            op: request.proto_op,
            frame: self.frame(PushKind::All, &proto)?,
            speed: u32::try_from(request.speed).unwrap_or(0),
        };
        self.broadcaster
            .submit(broadcast)
            .map_err(|full| Status::resource_exhausted(full.to_string()))?;
        Ok(Response::new(BroadcastReply {}))
    }

    async fn broadcast_room(
        &self,
        request: Request<BroadcastRoomReq>,
    ) -> Result<Response<BroadcastRoomReply>, Status> {
        let request = request.into_inner();
        let proto = request.proto.filter(|_| !request.room_id.is_empty());
        let proto = proto.ok_or_else(|| bad_request("rpc broadcast  room arg error"))?;
        let frame = self.frame(PushKind::Room, &proto)?;
        let mut tally = Tally::default();
        self.hub.push_room(&request.room_id, &frame, &mut tally);
        tally.report(&self.hub.metrics);
        Ok(Response::new(BroadcastRoomReply {}))
    }

    async fn rooms(&self, _: Request<RoomsReq>) -> Result<Response<RoomsReply>, Status> {
        let rooms: HashMap<_, _> = self
            .hub
            .rooms
            .all()
            .filter(|room| room.members() > 0)
            .map(|room| (room.name().to_string(), true))
            .collect();
        Ok(Response::new(RoomsReply { rooms }))
    }
}
