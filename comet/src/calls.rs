//! Calls to logic: each with a deadline, all of them bounded, every end counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq, OnlineReq, ReceiveReq,
};
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::node::{Grant, NodeStatus};
use halley_proto::metadata;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::bucket::Identity;
use crate::metrics::Metrics;

/// See the [module](self).
pub(crate) struct Calls {
    logic: Arc<dyn Logic>,
    server: String,
    deadline: Duration,
    permits: Semaphore,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Who logic says a client is.
#[derive(Debug)]
pub(crate) struct Login {
    /// goim's answer.
    pub(crate) reply: ConnectReply,
    /// What the client may do; `None`: everything.
    pub(crate) grant: Option<Grant>,
}

impl Calls {
    /// Calls `logic` in the name of `server`.
    pub(crate) fn new(
        logic: Arc<dyn Logic>,
        server: String,
        deadline: Duration,
        in_flight_max: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            logic,
            server,
            deadline,
            permits: Semaphore::new(in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            metrics,
        }
    }

    /// Authenticates a client and binds connection `number`, or only looks at
    /// its new token.
    pub(crate) async fn connect(
        &self,
        number: u64,
        token: Bytes,
        cookie: String,
        refresh: bool,
    ) -> Result<Login, Status> {
        let mut request = Request::new(ConnectReq {
            server: self.server.clone(),
            cookie,
            token,
        });
        metadata::set_connection(request.metadata_mut(), number);
        if refresh {
            metadata::set_refresh(request.metadata_mut());
        }
        let response = self.call("connect", self.logic.connect(request)).await?;
        let grant = metadata::grant(response.metadata());
        Ok(Login {
            reply: response.into_inner(),
            grant,
        })
    }

    /// Removes the binding of connection `number`.
    pub(crate) async fn disconnect(&self, number: u64, identity: Identity) {
        let mut request = Request::new(DisconnectReq {
            mid: identity.mid,
            key: identity.key.into_string(),
            server: self.server.clone(),
        });
        metadata::set_connection(request.metadata_mut(), number);
        // A binding that stays behind ends with its time to live.
        let _ = self
            .call("disconnect", self.logic.disconnect(request))
            .await;
    }

    /// Renews the binding of connection `number`.
    pub(crate) async fn heartbeat(&self, number: u64, identity: Identity) {
        let mut request = Request::new(HeartbeatReq {
            mid: identity.mid,
            key: identity.key.into_string(),
            server: self.server.clone(),
        });
        metadata::set_connection(request.metadata_mut(), number);
        // The next renewal comes before the binding's time to live is over.
        let _ = self.call("heartbeat", self.logic.heartbeat(request)).await;
    }

    /// Hands on what a client sent.
    pub(crate) async fn receive(&self, mid: i64, proto: Proto) {
        let request = Request::new(ReceiveReq {
            mid,
            proto: Some(proto),
        });
        // The echo is no acknowledgement: the client gets it in every case.
        let _ = self.call("receive", self.logic.receive(request)).await;
    }

    /// Reports the rooms and takes back every room's total.
    pub(crate) async fn renew_online(
        &self,
        rooms: std::collections::HashMap<String, i32>,
        status: &NodeStatus,
    ) -> Result<std::collections::HashMap<String, i32>, Status> {
        let mut request = Request::new(OnlineReq {
            server: self.server.clone(),
            room_count: rooms,
        });
        metadata::set_node(request.metadata_mut(), status);
        let response = self
            .call("renew_online", self.logic.renew_online(request))
            .await?;
        Ok(response.into_inner().all_room_count)
    }

    async fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Status> {
        let started = Instant::now();
        let guarded = async {
            let _permit = self.permits.acquire().await;
            call.await
        };
        let result = timeout_at(started + self.deadline, guarded)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("logic did not answer in time")));
        self.metrics
            .logic_call_seconds
            .observe(started.elapsed().as_secs_f64());
        let outcome = match &result {
            Ok(_) => "ok",
            Err(status) if status.code() == tonic::Code::DeadlineExceeded => "deadline",
            Err(_) => "error",
        };
        self.metrics.logic_call(method, outcome);
        result
    }
}
