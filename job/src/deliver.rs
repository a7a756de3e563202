//! Calls a comet until it answers or the pushes expire.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_proto::goim::comet::comet_server::Comet;
use halley_proto::remote::is_goims_error;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::{Code, Request as GrpcRequest, Status};
use tracing::debug;

use crate::merge::{Call, Request};
use crate::metrics::{Metrics, Outcome};

/// Delivers calls to one comet.
#[derive(Clone)]
pub(crate) struct Courier {
    pub(crate) server: Arc<str>,
    pub(crate) comet: Arc<dyn Comet>,
    /// Comets that share a broadcast's pace.
    pub(crate) comets: Arc<AtomicUsize>,
    pub(crate) call_timeout: Duration,
    pub(crate) retry: Backoff,
    pub(crate) metrics: Arc<Metrics>,
    /// Told of each call that fails and may not fail again.
    pub(crate) failing: Arc<Notify>,
}

/// Why a call did not succeed.
enum Failure {
    /// The comet's last word: the same call would fail again.
    Refused(Status),
    /// May pass.
    Passing(Status),
}

impl Courier {
    /// Returns when every part of the first call has its outcome, and the call
    /// has left the list.
    ///
    /// # Cancel safety
    ///
    /// What has no outcome when the future is dropped is still in the list; the
    /// comet may have got it.
    pub(crate) async fn deliver_first(&self, calls: &mut VecDeque<Call>) {
        // Of a call that a comet refuses, other messages or keys may be fine.
        let mut more = 1;
        while more > 0
            && let Some(first) = calls.front_mut()
        {
            let refused = self.attempt_until_expired(first).await.err();
            let Some(mut call) = calls.pop_front() else {
                return;
            };
            more -= 1;
            let Some(status) = refused else {
                continue;
            };
            if call.can_split() {
                for call in call.split().into_iter().rev() {
                    calls.push_front(call);
                    more += 1;
                }
            } else {
                debug!(server = %self.server, code = ?status.code(), "push refused");
                call.end(Outcome::Refused);
            }
        }
    }

    /// An error is the comet's refusal of what is left of the call.
    async fn attempt_until_expired(&self, call: &mut Call) -> Result<(), Status> {
        let mut failures = 0;
        let mut request = None;
        loop {
            if call.expire(Instant::now()) > 0 {
                request = None;
            }
            let Some(deadline) = call.latest() else {
                return Ok(());
            };
            let comets = self.comets.load(Ordering::Relaxed);
            request = request.or_else(|| call.request(comets));
            let Some(request) = &request else {
                return Ok(());
            };
            let Err(failure) = self.attempt(request, deadline).await else {
                self.metrics.merged_messages.observe(call.messages());
                call.end(Outcome::Delivered);
                return Ok(());
            };
            match failure {
                Failure::Refused(status) => {
                    self.metrics.calls_refused.inc();
                    return Err(status);
                }
                Failure::Passing(status) => {
                    failures += 1;
                    self.metrics.calls_repeated.inc();
                    self.failing.notify_one();
                    debug!(server = %self.server, failures, code = ?status.code(), "call failed");
                }
            }
            let retry_at = Instant::now() + self.retry.pause(failures);
            tokio::time::sleep_until(retry_at.min(deadline)).await;
        }
    }

    async fn attempt(&self, request: &Request, deadline: Instant) -> Result<(), Failure> {
        let started = Instant::now();
        let until = deadline.min(started + self.call_timeout);
        let call = self.call(request.clone(), until - started);
        let answer = tokio::time::timeout_at(until, call).await;
        let elapsed = started.elapsed();
        self.metrics.call_seconds.observe(elapsed.as_secs_f64());
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) if is_final(&status) => Err(Failure::Refused(status)),
            Ok(Err(status)) => Err(Failure::Passing(status)),
            Err(_) => Err(Failure::Passing(Status::deadline_exceeded("no answer"))),
        }
    }

    async fn call(&self, request: Request, remaining: Duration) -> Result<(), Status> {
        match request {
            Request::Keys(request) => {
                self.comet.push_msg(within(remaining, request)).await?;
            }
            Request::Room(request) => {
                let request = within(remaining, request);
                self.comet.broadcast_room(request).await?;
            }
            Request::Everyone(request) => {
                self.comet.broadcast(within(remaining, request)).await?;
            }
        }
        Ok(())
    }
}

/// A request that the comet too gives up then.
fn within<T>(remaining: Duration, message: T) -> GrpcRequest<T> {
    let mut request = GrpcRequest::new(message);
    request.set_timeout(remaining);
    request
}

/// Whether the comet itself answered that it will not do this.
fn is_final(status: &Status) -> bool {
    let is_refusal = matches!(
        status.code(),
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented
    );
    // For instance for a key whose queue is full.
    is_refusal || is_goims_error(status)
}
