//! Calls to logic: each with a deadline that goes with it, all of them bounded,
//! every end counted.
//!
//! What logic may be asked twice is asked again if it could not be reached,
//! while the deadline and the budget for that last.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_node::budget::Budget;
use halley_node::grpc::Tried;
use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::goim::logic::{
    ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq, OnlineReq, ReceiveReq,
};
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::node::{Grant, HotRooms, NodeStatus};
use halley_proto::metadata;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

use crate::bucket::Identity;
use crate::config::LogicCalls;
use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

/// See the [module](self).
pub(crate) struct Calls {
    logic: Arc<dyn Logic>,
    server: String,
    config: LogicCalls,
    permits: Semaphore,
    budget: Budget,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What logic knows of all nodes.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Members by room.
    pub(crate) rooms: HashMap<String, i32>,
    /// The sessions' epoch, if logic can tell.
    pub(crate) epoch: Option<u64>,
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
        config: LogicCalls,
        metrics: Arc<Metrics>,
    ) -> Self {
        let in_flight_max = config.in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            logic,
            server,
            permits: Semaphore::new(in_flight_max),
            budget: Budget::new(config.retry_percent_max, config.retries_min),
            config,
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
        let message = ConnectReq {
            server: self.server.clone(),
            cookie,
            token,
        };
        // The number makes a repeated Connect the same one.
        let connect = |attempt| {
            let mut request = request(message.clone(), attempt);
            metadata::set_connection(request.metadata_mut(), number);
            if refresh {
                metadata::set_refresh(request.metadata_mut());
            }
            self.logic.connect(request)
        };
        let response = self.call("connect", Repeat::IfUnavailable, connect).await?;
        let grant = metadata::grant(response.metadata());
        Ok(Login {
            reply: response.into_inner(),
            grant,
        })
    }

    /// Removes the binding of connection `number`.
    pub(crate) async fn disconnect(&self, number: u64, identity: Identity) {
        let message = DisconnectReq {
            mid: identity.mid,
            key: identity.key.into_string(),
            server: self.server.clone(),
        };
        let disconnect = |attempt| {
            let mut request = request(message.clone(), attempt);
            metadata::set_connection(request.metadata_mut(), number);
            self.logic.disconnect(request)
        };
        // A binding that stays behind ends with its time to live.
        let _ = self
            .call("disconnect", Repeat::IfUnavailable, disconnect)
            .await;
    }

    /// Renews the binding of connection `number`.
    pub(crate) async fn heartbeat(&self, number: u64, identity: Identity) -> Result<(), Status> {
        let message = HeartbeatReq {
            mid: identity.mid,
            key: identity.key.into_string(),
            server: self.server.clone(),
        };
        let heartbeat = |attempt| {
            let mut request = request(message.clone(), attempt);
            metadata::set_connection(request.metadata_mut(), number);
            self.logic.heartbeat(request)
        };
        self.call("heartbeat", Repeat::IfUnavailable, heartbeat)
            .await?;
        Ok(())
    }

    /// Hands on what a client sent.
    pub(crate) async fn receive(&self, mid: i64, proto: Proto) {
        let message = ReceiveReq {
            mid,
            proto: Some(proto),
        };
        let receive = |attempt| self.logic.receive(request(message.clone(), attempt));
        // The echo is no acknowledgement: the client gets it in every case.
        let _ = self.call("receive", Repeat::IfUnsent, receive).await;
    }

    /// Reports the rooms and takes back what logic knows.
    pub(crate) async fn renew_online(
        &self,
        rooms: &HashMap<String, i32>,
        status: &NodeStatus,
        hot_rooms: &HotRooms,
    ) -> Result<Totals, Status> {
        let renew = |attempt| {
            let message = OnlineReq {
                server: self.server.clone(),
                room_count: rooms.clone(),
            };
            let mut request = request(message, attempt);
            metadata::set_node(request.metadata_mut(), status);
            metadata::set_hot_rooms(request.metadata_mut(), hot_rooms);
            self.logic.renew_online(request)
        };
        let response = self
            .call("renew_online", Repeat::IfUnavailable, renew)
            .await?;
        Ok(Totals {
            epoch: metadata::epoch(response.metadata()),
            rooms: response.into_inner().all_room_count,
        })
    }

    /// Makes a call.
    async fn call<'a, T>(
        &'a self,
        method: &'static str,
        repeat: Repeat,
        attempt: impl Fn(Attempt) -> Answer<'a, T>,
    ) -> Result<Response<T>, Status> {
        let started = Instant::now();
        let deadline = started + self.config.deadline;
        self.budget.call();
        let tried = Tried::default();
        let mut failures = 0;
        let result = loop {
            let guarded = async {
                let _permit = self.permits.acquire().await;
                attempt(Attempt {
                    remaining: deadline.saturating_duration_since(Instant::now()),
                    tried: tried.clone(),
                })
                .await
            };
            let status = match timeout_at(deadline, guarded).await {
                Ok(Ok(response)) => break Ok(response),
                Ok(Err(status)) => status,
                Err(_) => {
                    let text = "logic did not answer in time";
                    break Err(Status::deadline_exceeded(text));
                }
            };
            failures += 1;
            if !repeat.may(&status) || !self.may_wait(failures, deadline).await {
                break Err(status);
            }
        };
        self.metrics
            .logic_call_seconds
            .observe(started.elapsed().as_secs_f64());
        self.metrics.logic_call(method, outcome(&result));
        result
    }

    /// Pauses before another attempt; `false` if there must be none.
    async fn may_wait(&self, failures: u32, deadline: Instant) -> bool {
        let pause = self.pause(failures);
        if Instant::now() + pause >= deadline {
            return false;
        }
        if !self.budget.take() {
            self.metrics.logic_retries_refused.inc();
            return false;
        }
        self.metrics.logic_retries.inc();
        sleep(pause).await;
        true
    }

    /// Doubled with each failure, less a part of up to a half by chance.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let pause = self.config.retry_pause_min.saturating_mul(doublings);
        let pause = pause.min(self.config.retry_pause_max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// What goes with each attempt at a call.
struct Attempt {
    /// Time until the call's deadline.
    remaining: Duration,
    /// The logics that it was sent to.
    tried: Tried,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

fn request<T>(message: T, attempt: Attempt) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(attempt.remaining);
    request.extensions_mut().insert(attempt.tried);
    request
}

fn outcome<T>(result: &Result<T, Status>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(status) if status.code() == Code::DeadlineExceeded => "deadline",
        Err(_) => "error",
    }
}

/// When a call may be made again.
#[derive(Clone, Copy, Debug)]
enum Repeat {
    /// Twice is as good as once: also when the logic that was asked says that it
    /// cannot, or has too much to do, as another may be able to.
    IfUnavailable,
    /// Twice would be one too many.
    IfUnsent,
}

impl Repeat {
    fn may(self, status: &Status) -> bool {
        match self {
            Self::IfUnavailable => {
                matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
                    || is_transport(status)
            }
            Self::IfUnsent => is_unconnected(status),
        }
    }
}

/// Whether the way to logic failed, not logic.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() && status.code() != Code::DeadlineExceeded
}

/// Whether there was no connection that the call could have been sent over.
fn is_unconnected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
