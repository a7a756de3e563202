//! Serves a push log to jobs in other processes.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, stream};
use halley_proto::halley::push_log::push_log_server::{self, PushLogServer};
use halley_proto::halley::push_log::{Record, Records, SubscribeRequest};
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status, Streaming};

use super::{Ack, Delivery, PushLog, SubscribeError, Subscription};

/// Limits of a [`PushLogService`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// Unacknowledged records of one subscriber; it gets no more until it
    /// acknowledges some.
    pub in_flight_max: usize,
    /// Records of one message.
    pub batch_records_max: usize,
    /// Encoded bytes after which a message takes no further record.
    pub batch_bytes_max: usize,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            in_flight_max: 65_536,
            batch_records_max: 256,
            batch_bytes_max: 256 << 10,
        }
    }
}

/// The gRPC service of a push log.
///
/// A subscriber's stream holds what was sent on it and not acknowledged; when
/// the stream breaks, all of that goes back to the log.
#[derive(Debug)]
pub struct PushLogService {
    log: Arc<dyn PushLog>,
    config: ServiceConfig,
}

impl PushLogService {
    /// Serves `log`.
    pub fn new(log: Arc<dyn PushLog>, config: ServiceConfig) -> Self {
        Self { log, config }
    }

    /// The service, to be added to a gRPC server.
    pub fn into_server(self) -> PushLogServer<Self> {
        PushLogServer::new(self)
    }
}

type SubscribeStream = std::pin::Pin<Box<dyn Stream<Item = Result<Records, Status>> + Send>>;

#[tonic::async_trait]
impl push_log_server::PushLog for PushLogService {
    type SubscribeStream = SubscribeStream;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<SubscribeStream>, Status> {
        let subscription = self.log.subscribe().await?;
        let feed = Feed {
            config: self.config.clone(),
            requests: request.into_inner(),
            held: HashMap::new(),
            next_id: 0,
            subscription,
            is_over: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(
            feed,
            |mut feed| async { feed.next().await.map(|records| (Ok(records), feed)) },
        ))))
    }
}

impl From<SubscribeError> for Status {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Full => Self::resource_exhausted(error.to_string()),
            SubscribeError::Unavailable(_) => Self::unavailable(error.to_string()),
        }
    }
}

/// One subscriber's stream.
struct Feed {
    config: ServiceConfig,
    requests: Streaming<SubscribeRequest>,
    /// What was sent and not acknowledged.
    held: HashMap<u64, Ack>,
    next_id: u64,
    /// Declared after `held`: the acknowledgements undone go back one by one
    /// before the subscription ends.
    subscription: Box<dyn Subscription>,
    /// The log has no more records for this subscriber.
    is_over: bool,
}

impl Feed {
    /// The next message; `None` ends the stream: the subscriber is gone, or the
    /// log is and everything sent was acknowledged.
    async fn next(&mut self) -> Option<Records> {
        loop {
            if self.is_over && self.held.is_empty() {
                return None;
            }
            let has_room = self.held.len() < self.config.in_flight_max.max(1);
            // Both arms are cancel-safe: a stream's message and a
            // subscription's record stay there for the next poll.
            tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.acknowledge(&request.acked),
                    Ok(None) | Err(_) => return None,
                },
                delivery = self.subscription.next(), if has_room && !self.is_over => {
                    match delivery {
                        Some(delivery) => return Some(self.batch(delivery)),
                        None => self.is_over = true,
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(ack) = self.held.remove(id) {
                ack.done();
            }
        }
    }

    /// A message of `first` and of what else is there already.
    fn batch(&mut self, first: Delivery) -> Records {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(delivery) = next.take() {
            let record = self.hold(delivery);
            bytes += record.encoded_len();
            records.push(record);
            let has_room = records.len() < self.config.batch_records_max
                && bytes < self.config.batch_bytes_max
                && self.held.len() < self.config.in_flight_max;
            if has_room {
                next = self.subscription.next().now_or_never().flatten();
            }
        }
        Records { records }
    }

    fn hold(&mut self, delivery: Delivery) -> Record {
        let id = self.next_id;
        self.next_id += 1;
        self.held.insert(id, delivery.ack);
        let age = delivery.published.elapsed();
        Record {
            id,
            msg: Some(Arc::unwrap_or_clone(delivery.msg)),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
