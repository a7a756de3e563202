//! The push log: what logic accepted and job has not yet delivered.
//!
//! A record is in the log from the moment [`PushLog::publish`] returns `Ok`
//! until its [`Ack`] is done: that is the promise a push's HTTP answer makes.
//! Each record goes to one subscription, records with one [`record_key`] in
//! the order of their publication, at least once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;
use tokio::time::Instant;

pub use crate::goim_hash::partition;
pub use kafka::{
    Assignment, ConsumerConfig, GroupProtocol, KafkaConfig, KafkaPushLog, KafkaStats, Start,
};
pub use memory::{MemoryConfig, MemoryPushLog};
pub use remote::{RemoteConfig, RemotePeer, RemotePushLog};
pub use service::{PushLogService, ServiceConfig};

mod kafka;
mod memory;
mod remote;
mod service;

/// Carries accepted pushes from logic to job.
#[async_trait]
pub trait PushLog: Send + Sync + fmt::Debug {
    /// Appends `records` in order: all of them, or none and an error.
    ///
    /// A log outside of this process can only promise that per record; its
    /// error then means that some of the records may be in the log.
    async fn publish(&self, records: Vec<PushMsg>) -> Result<(), PublishError>;

    /// Starts to take records; several subscriptions share them.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError>;

    /// Refuses further records from this process and returns when those
    /// accepted are as safe as they will be without a subscriber.
    async fn close(&self);

    /// What waits for acknowledgement; `None` where only another process knows.
    fn depth(&self) -> Option<Depth> {
        None
    }
}

/// A share of the log's records.
///
/// Dropped, it gives everything unacknowledged back to the log.
#[async_trait]
pub trait Subscription: Send {
    /// The next record, as soon as there is one.
    ///
    /// `None` means that the log is closed, or [`drain`](Self::drain) was
    /// called, and nothing is left that only this subscription could deliver.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped takes no record.
    async fn next(&mut self) -> Option<Delivery>;

    /// Makes the subscription end: [`next`](Self::next) returns only what
    /// would be lost with this process, then `None`. Acknowledgements are
    /// still taken.
    fn drain(&mut self);

    /// How long a subscription that drains may keep records that others could
    /// deliver; `None` where nobody else can.
    fn patience(&self) -> Option<Duration>;

    /// Returns when the acknowledgements made so far have reached the log.
    async fn close(self: Box<Self>);
}

/// A record to be delivered.
#[derive(Debug)]
pub struct Delivery {
    /// What was pushed.
    pub msg: Arc<PushMsg>,
    /// When the log took it.
    pub published: Instant,
    /// To be done when the record is delivered or otherwise accounted for.
    pub ack: Ack,
}

/// The duty to account for one record. Dropped undone, the record is delivered
/// again.
pub struct Ack {
    id: u64,
    sink: Option<Arc<dyn AckSink>>,
}

/// Where a log implementation learns what became of the records it handed out.
pub trait AckSink: Send + Sync {
    /// The record is accounted for.
    fn done(&self, id: u64);
    /// The record is not accounted for and must be delivered again.
    fn returned(&self, id: u64);
}

impl Ack {
    /// The duty for record `id` of `sink`.
    pub fn new(sink: Arc<dyn AckSink>, id: u64) -> Self {
        Self {
            id,
            sink: Some(sink),
        }
    }

    /// Removes the record from the log.
    pub fn done(mut self) {
        if let Some(sink) = self.sink.take() {
            sink.done(self.id);
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.returned(self.id);
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What the log holds that is not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Records.
    pub records: usize,
    /// Encoded bytes of the records.
    pub bytes: usize,
    /// Age of the oldest record.
    pub oldest: Duration,
}

/// Why records were not taken. Unless said otherwise, none of them was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The subscribers are behind: the caller may try again, not before `retry_after`.
    #[error("push log is full")]
    Full {
        /// A pause after which there may be room.
        retry_after: Duration,
    },
    /// More than the log could ever take at once: the caller must send less.
    #[error("push of {bytes} bytes in {records} records exceeds what the push log takes")]
    TooLarge {
        /// Encoded bytes of the refused records.
        bytes: usize,
        /// Number of the refused records.
        records: usize,
    },
    /// This process is about to end: the caller should turn to another one.
    #[error("push log is closed")]
    Closed,
    /// The log cannot be reached or cannot publish: some of the records may
    /// have been taken.
    #[error("push log is unavailable: {0}")]
    Unavailable(String),
}

/// Why a subscription did not start. Both may pass: the caller may try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// All subscriptions that the log allows are taken.
    #[error("push log has no subscription left")]
    Full,
    /// The log cannot be reached.
    #[error("push log is unavailable: {0}")]
    Unavailable(String),
}

/// What decides a record's partition, and with it its order: the first key of
/// a push, the room, or the operation of a broadcast.
pub fn record_key(msg: &PushMsg) -> Cow<'_, str> {
    match Type::try_from(msg.r#type) {
        Ok(Type::Push) => Cow::Borrowed(msg.keys.first().map_or("", String::as_str)),
        Ok(Type::Room) => Cow::Borrowed(&msg.room),
        Ok(Type::Broadcast) => Cow::Owned(msg.operation.to_string()),
        // Whoever delivers it can only account for it: any partition will do.
        Err(_) => Cow::Borrowed(""),
    }
}
