//! Measures a call to its end, also when its caller does not wait for that.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Response, Status};

use crate::metrics::{Metrics, RpcMethod, RpcOutcome};

/// A call that goes on. Dropped before its end, it was cancelled.
#[derive(Debug)]
pub(super) struct Measured {
    metrics: Arc<Metrics>,
    method: RpcMethod,
    started: Instant,
    outcome: RpcOutcome,
}

impl Measured {
    pub(super) fn start(metrics: &Arc<Metrics>, method: RpcMethod) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            method,
            started: Instant::now(),
            outcome: RpcOutcome::Cancelled,
        }
    }

    /// Passes the result on.
    pub(super) fn end<T>(
        mut self,
        result: Result<Response<T>, Status>,
    ) -> Result<Response<T>, Status> {
        self.outcome = match result {
            Ok(_) => RpcOutcome::Ok,
            Err(_) => RpcOutcome::Error,
        };
        result
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics
            .call(self.method, self.outcome, self.started.elapsed());
    }
}
