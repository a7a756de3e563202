use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{info, warn};

use super::Shared;
use super::peer::{InFlight, Peer};
use crate::breaker::{Change, Permit};

/// A call that one node was chosen for. Dropped before there is an answer, its
/// caller has given it up.
pub(super) struct Call {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    /// Some until an answer takes it over.
    in_flight: Option<InFlight>,
    /// Some until there is a verdict.
    permit: Option<Permit>,
    started: Instant,
}

impl Call {
    pub(super) fn start(shared: &Arc<Shared>, peer: Arc<Peer>, now: Instant) -> Option<Self> {
        Some(Self {
            permit: Some(peer.breaker.admit(now)?),
            in_flight: Some(InFlight::of(Arc::clone(&peer))),
            shared: Arc::clone(shared),
            peer,
            started: now,
        })
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The node has answered, whatever it was; the call goes on until the body
    /// of the answer ends.
    pub(super) fn answered(mut self, response: http::Response<Body>) -> http::Response<Body> {
        self.judge(Permit::success);
        let status = Status::from_header_map(response.headers());
        if status.is_some_and(|status| status.code() == Code::Unavailable) {
            self.peer.set_troubled();
        }
        let in_flight = self.in_flight.take();
        response.map(|body| Body::new(Counted { body, in_flight }))
    }

    /// The node could not be reached, or the connection to it broke.
    pub(super) fn failed(mut self) {
        self.judge(|permit| permit.failure(Instant::now()));
    }

    fn judge(&mut self, verdict: impl FnOnce(Permit) -> Change) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let (service, node) = (self.shared.service, &self.peer.addr);
        match verdict(permit) {
            Change::None => {}
            Change::Opened(open) => {
                self.shared.metrics.opened();
                let open_ms = u64::try_from(open.as_millis()).unwrap_or(u64::MAX);
                warn!(service, node, open_ms, "node fails and is left alone");
            }
            Change::Closed => info!(service, node, "node works again"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now = Instant::now();
        if now - self.started >= self.shared.config.abandoned_after {
            self.judge(|permit| permit.failure(now));
        }
    }
}

/// The body of an answer, which counts as a call under way until it ends.
struct Counted {
    body: Body,
    in_flight: Option<InFlight>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if is_last {
            self.in_flight = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
