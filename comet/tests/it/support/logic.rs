//! A logic that trusts clients, remembers what it was asked, and can be hung.

use std::collections::HashMap;
use std::sync::Arc;

use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReply, DisconnectReq, HeartbeatReply, HeartbeatReq,
    NodesReply, NodesReq, OnlineReply, OnlineReq, ReceiveReply, ReceiveReq,
};
use halley_proto::halley::node::{Grant, HotRooms, NodeStatus};
use halley_proto::metadata;
use halley_wire::AuthBody;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Counts;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct TestLogic {
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Key to the number of the connection bound last.
    pub(crate) bound: HashMap<String, u64>,
    pub(crate) connects: Vec<ConnectReq>,
    pub(crate) disconnects: Vec<DisconnectReq>,
    /// When bindings were renewed, and of which connections.
    pub(crate) heartbeats: Vec<(Instant, u64)>,
    /// Heartbeats, answered or not.
    pub(crate) renewing: usize,
    /// What each of them takes a permit of.
    pub(crate) heartbeat_gate: Option<Arc<Semaphore>>,
    /// So many heartbeats fail.
    pub(crate) heartbeats_failing: usize,
    pub(crate) epoch: Option<u64>,
    pub(crate) received: Vec<ReceiveReq>,
    pub(crate) status: Option<NodeStatus>,
    pub(crate) hot_rooms: HotRooms,
    /// Members on other nodes.
    pub(crate) elsewhere: Counts,
    pub(crate) grant: Option<Grant>,
    /// Nanoseconds; 0: eight minutes.
    pub(crate) heartbeat_ns: i64,
    pub(crate) is_hung: bool,
    /// Logins, answered or not.
    pub(crate) connecting: usize,
    /// What each of them takes a permit of.
    pub(crate) gate: Option<Arc<Semaphore>>,
    /// The same for what clients send.
    pub(crate) receive_gate: Option<Arc<Semaphore>>,
    /// What clients sent, received or not.
    pub(crate) receiving: usize,
}

impl TestLogic {
    async fn maybe_hang(&self) {
        if self.state.lock().is_hung {
            std::future::pending::<()>().await;
        }
    }
}

#[tonic::async_trait]
impl Logic for TestLogic {
    async fn connect(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, Status> {
        self.maybe_hang().await;
        let gate = {
            let mut state = self.state.lock();
            state.connecting += 1;
            state.gate.clone()
        };
        if let Some(gate) = gate {
            gate.acquire().await.expect("it stays open").forget();
        }
        let number = metadata::connection(request.metadata()).expect("comet numbers connections");
        let is_refresh = metadata::is_refresh(request.metadata());
        let request = request.into_inner();
        let auth = AuthBody::parse(&request.token);
        let mut state = self.state.lock();
        state.connects.push(request);
        let auth = auth.map_err(|error| Status::unknown(error.to_string()))?;
        if !is_refresh {
            state.bound.insert(auth.key.clone(), number);
        }
        let heartbeat = match state.heartbeat_ns {
            0 => 480_000_000_000,
            ns => ns,
        };
        let mut response = Response::new(ConnectReply {
            mid: auth.mid,
            key: auth.key,
            room_id: auth.room_id,
            accepts: auth.accepts,
            heartbeat,
        });
        if let Some(grant) = &state.grant {
            metadata::set_grant(response.metadata_mut(), grant);
        }
        Ok(response)
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectReq>,
    ) -> Result<Response<DisconnectReply>, Status> {
        let number = metadata::connection(request.metadata());
        let request = request.into_inner();
        let mut state = self.state.lock();
        let has = state.bound.get(&request.key).copied() == number;
        if has {
            state.bound.remove(&request.key);
        }
        state.disconnects.push(request);
        Ok(Response::new(DisconnectReply { has }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatReq>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        let number = metadata::connection(request.metadata()).expect("comet numbers connections");
        let gate = {
            let mut state = self.state.lock();
            state.renewing += 1;
            state.heartbeat_gate.clone()
        };
        if let Some(gate) = gate {
            gate.acquire().await.expect("it stays open").forget();
        }
        let mut state = self.state.lock();
        if state.heartbeats_failing > 0 {
            state.heartbeats_failing -= 1;
            return Err(Status::internal("not now"));
        }
        state.heartbeats.push((Instant::now(), number));
        let key = request.into_inner().key;
        state.bound.entry(key).or_insert(number);
        Ok(Response::new(HeartbeatReply {}))
    }

    async fn renew_online(
        &self,
        request: Request<OnlineReq>,
    ) -> Result<Response<OnlineReply>, Status> {
        let mut state = self.state.lock();
        state.status = metadata::node(request.metadata());
        state.hot_rooms = metadata::hot_rooms(request.metadata());
        let mut all = request.into_inner().room_count;
        for (room, members) in &state.elsewhere {
            *all.entry(room.clone()).or_default() += members;
        }
        let mut response = Response::new(OnlineReply {
            all_room_count: all,
        });
        if let Some(epoch) = state.epoch {
            metadata::set_epoch(response.metadata_mut(), epoch);
        }
        Ok(response)
    }

    async fn receive(
        &self,
        request: Request<ReceiveReq>,
    ) -> Result<Response<ReceiveReply>, Status> {
        self.maybe_hang().await;
        let gate = {
            let mut state = self.state.lock();
            state.receiving += 1;
            state.receive_gate.clone()
        };
        if let Some(gate) = gate {
            gate.acquire().await.expect("it stays open").forget();
        }
        self.state.lock().received.push(request.into_inner());
        Ok(Response::new(ReceiveReply {}))
    }

    async fn nodes(&self, _: Request<NodesReq>) -> Result<Response<NodesReply>, Status> {
        Err(Status::unimplemented("not a comet's business"))
    }
}
