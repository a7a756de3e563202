//! Pushes from jobs, over one long-lived stream for each.
//!
//! What a job sends is carried out in the order of the stream and reported; a
//! job that comes back after a cut goes on where it was. The same stream tells
//! the job which rooms the node holds.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use halley_proto::halley::delivery::delivery_server::Delivery;
use halley_proto::halley::delivery::{Pushes, Reports};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::broadcast::Broadcaster;
use crate::hub::Hub;

mod carry;
mod feed;
mod held;
mod progress;
mod sessions;
mod stream;
mod waiting;

pub(crate) use held::{HeldRooms, Limits as HeldLimits, Unconfirmed};

use sessions::Sessions;
use stream::PushStream;

/// Reports that wait for the job to read them.
const REPORTS_WAITING: usize = 2;

/// The service; see the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Service {
    hub: Arc<Hub>,
    broadcaster: Arc<Broadcaster>,
    sessions: Arc<Sessions>,
}

impl Service {
    pub(crate) fn new(hub: Arc<Hub>, broadcaster: Arc<Broadcaster>) -> Self {
        let config = &hub.config.delivery;
        let sessions = Sessions::new(sessions::Limits {
            streams_max: config.streams_max,
            sessions_max: config.sessions_max,
        });
        Self {
            hub,
            broadcaster,
            sessions,
        }
    }
}

#[tonic::async_trait]
impl Delivery for Service {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<Reports, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<Pushes>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let (reports, taken) = mpsc::channel(REPORTS_WAITING);
        let (service, pushes) = (self.clone(), request.into_inner());
        self.hub.streams.spawn(async move {
            let hub = Arc::clone(&service.hub);
            hub.metrics.streams.inc();
            let ended = PushStream::run(service, pushes, &reports).await;
            hub.metrics.streams.dec();
            if let Err(status) = ended {
                tracing::debug!(error = status.message(), "stream of a job ended");
                tokio::select! {
                    // Fails if the job is gone.
                    _ = reports.send(Err(status)) => {}
                    () = hub.serving.cancelled() => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(taken).boxed()))
    }
}
