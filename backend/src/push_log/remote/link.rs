//! The stream from one peer, made anew whenever it breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use halley_proto::halley::push_log::push_log_client::PushLogClient;
use halley_proto::halley::push_log::{Record, Records, SubscribeRequest};
use halley_proto::remote::{MESSAGE_BYTES_MAX, Transport};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::super::{Ack, AckSink, Delivery};
use super::{RemoteConfig, RemotePeer};

pub(super) struct Peer<T> {
    name: String,
    client: PushLogClient<T>,
    config: RemoteConfig,
    /// Cancelled when no more records are wanted, only their end.
    ending: CancellationToken,
    /// Attempts since the last record.
    failures: u32,
    link: Option<Link>,
}

impl<T: Transport> Peer<T> {
    pub(super) fn new(
        peer: RemotePeer<T>,
        config: RemoteConfig,
        ending: CancellationToken,
    ) -> Self {
        Self {
            name: peer.name,
            client: PushLogClient::new(peer.transport).max_decoding_message_size(MESSAGE_BYTES_MAX),
            config,
            ending,
            failures: 0,
            link: None,
        }
    }

    /// The next record; `None` when the subscription is ending and the peer
    /// has taken all acknowledgements, or cannot.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            let Some(link) = &mut self.link else {
                if self.ending.is_cancelled() {
                    return None;
                }
                self.link = self.connect().await;
                continue;
            };
            if let Some(delivery) = link.take() {
                self.failures = 0;
                return Some(delivery);
            }
            if let Err(status) = link.receive().await {
                self.link = None;
                if !self.ending.is_cancelled() {
                    self.report(&status);
                }
            }
        }
    }

    /// Waits as long as the failures so far ask for, then tries once.
    async fn connect(&mut self) -> Option<Link> {
        let pause = self.config.reconnect.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        let attempt = async {
            tokio::time::sleep(pause).await;
            let acks = Arc::new(Acks::new(self.ending.child_token()));
            // A stream that is given up would stay open with its requests.
            let over = acks.over.clone().drop_guard();
            let requests = requests(Arc::clone(&acks));
            let timeout = self.config.subscribe_timeout;
            let answer = tokio::time::timeout(timeout, self.client.subscribe(requests)).await;
            match answer {
                Ok(Ok(response)) => {
                    over.disarm();
                    Ok(Link::new(response.into_inner(), acks))
                }
                Ok(Err(status)) => Err(status),
                Err(_) => Err(Status::deadline_exceeded("no answer to the subscription")),
            }
        };
        // An attempt that is given up has no acknowledgements to lose.
        let result = tokio::select! {
            result = attempt => result,
            () = self.ending.cancelled() => return None,
        };
        match result {
            Ok(link) => {
                tracing::info!(peer = self.name, "subscribed to push log");
                Some(link)
            }
            Err(status) => {
                self.report(&status);
                None
            }
        }
    }

    fn report(&self, status: &Status) {
        let (code, message) = (status.code(), status.message());
        if self.failures <= 1 {
            tracing::warn!(peer = self.name, ?code, message, "push log is away");
        } else {
            tracing::debug!(peer = self.name, ?code, message, "push log is still away");
        }
    }
}

struct Link {
    records: Streaming<Records>,
    received: VecDeque<Record>,
    received_at: Instant,
    acks: Arc<Acks>,
}

impl Link {
    fn new(records: Streaming<Records>, acks: Arc<Acks>) -> Self {
        Self {
            records,
            received: VecDeque::new(),
            received_at: Instant::now(),
            acks,
        }
    }

    /// A record received; none of a stream that is to end.
    fn take(&mut self) -> Option<Delivery> {
        if self.acks.returned.is_cancelled() || self.acks.over.is_cancelled() {
            return None;
        }
        let record = self.received.pop_front()?;
        let age = Duration::from_millis(record.age_ms);
        Some(Delivery {
            msg: Arc::new(record.msg.unwrap_or_default()),
            // The machine may have started later than the record's age says.
            published: self
                .received_at
                .checked_sub(age)
                .unwrap_or(self.received_at),
            ack: Ack::new(Arc::clone(&self.acks) as Arc<dyn AckSink>, record.id),
        })
    }

    /// Receives one message; an error means that the stream is over.
    async fn receive(&mut self) -> Result<(), Status> {
        let is_over = self.acks.over.is_cancelled();
        let message = tokio::select! {
            // What was given back comes again, and before what the stream
            // still holds, once the peer has seen the end of our requests.
            () = self.acks.returned.cancelled(), if !is_over => {
                self.acks.over.cancel();
                return Ok(());
            }
            message = self.records.message() => message?,
        };
        let records = message.ok_or_else(|| Status::unavailable("the peer ended the stream"))?;
        self.received = records.records.into();
        self.received_at = Instant::now();
        Ok(())
    }
}

impl Drop for Link {
    /// The peer learns of our end from that of the requests: as long as they
    /// could go on, the stream does.
    fn drop(&mut self) {
        self.acks.over.cancel();
    }
}

/// Acknowledgements on their way to the peer: no more than it has sent records.
struct Acks {
    done: Mutex<Vec<u64>>,
    ready: Notify,
    /// No further acknowledgements are sent than those made by now.
    over: CancellationToken,
    /// A record was given back. Only the end of its stream tells the peer.
    returned: CancellationToken,
}

impl Acks {
    fn new(over: CancellationToken) -> Self {
        Self {
            done: Mutex::default(),
            ready: Notify::new(),
            over,
            returned: CancellationToken::new(),
        }
    }
}

impl AckSink for Acks {
    fn done(&self, id: u64) {
        self.done.lock().push(id);
        self.ready.notify_one();
    }

    fn returned(&self, _id: u64) {
        self.returned.cancel();
    }
}

/// The requests of one stream: an empty one, then acknowledgements until they
/// are over.
fn requests(acks: Arc<Acks>) -> impl Stream<Item = SubscribeRequest> + Send + 'static {
    stream::unfold((acks, true), |(acks, is_first)| async move {
        if is_first {
            return Some((SubscribeRequest::default(), (acks, false)));
        }
        loop {
            let is_over = acks.over.is_cancelled();
            let acked = std::mem::take(&mut *acks.done.lock());
            if !acked.is_empty() {
                return Some((SubscribeRequest { acked }, (acks, false)));
            }
            if is_over {
                return None;
            }
            tokio::select! {
                () = acks.ready.notified() => {}
                () = acks.over.cancelled() => {}
            }
        }
    })
}
