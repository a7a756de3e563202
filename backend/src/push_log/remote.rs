//! The push logs of logic nodes in other processes.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, SelectAll};
use futures_util::{Stream, StreamExt};
use halley_proto::goim::logic::PushMsg;
use halley_proto::remote::Transport;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Delivery, PublishError, PushLog, SubscribeError, Subscription};
use crate::backoff::Backoff;
use link::Peer;

mod link;

/// Limits of a [`RemotePushLog`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Time for a peer to answer a subscription.
    #[serde(with = "humantime_serde")]
    pub subscribe_timeout: Duration,
    /// Pauses between attempts to reach a peer.
    pub reconnect: Backoff,
    /// Time to deliver what was taken before a job that drains gives it back, and
    /// for the last acknowledgements to reach the peers.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            subscribe_timeout: Duration::from_secs(5),
            reconnect: Backoff::default(),
            close_timeout: Duration::from_secs(2),
        }
    }
}

/// A process that serves its push log.
#[derive(Clone, Debug)]
pub struct RemotePeer<T> {
    /// Its name in logs.
    pub name: String,
    /// The way to it; may be one that connects on first use.
    pub transport: T,
}

/// The push logs of other processes, taken together.
///
/// It only subscribes: records are published in the process of the log. A peer
/// that is away is tried again for ever; what it held for us comes again.
#[derive(Clone, Debug)]
pub struct RemotePushLog<T> {
    peers: Vec<RemotePeer<T>>,
    config: RemoteConfig,
}

impl<T> RemotePushLog<T> {
    /// The logs of `peers`.
    pub fn new(peers: Vec<RemotePeer<T>>, config: RemoteConfig) -> Self {
        Self { peers, config }
    }
}

#[async_trait]
impl<T: Transport + Debug> PushLog for RemotePushLog<T> {
    async fn publish(&self, _records: Vec<PushMsg>) -> Result<(), PublishError> {
        let text = "records are published in the process of the log";
        Err(PublishError::Unavailable(text.to_owned()))
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        let ending = CancellationToken::new();
        let mut deliveries = SelectAll::new();
        for peer in &self.peers {
            let peer = Peer::new(peer.clone(), self.config.clone(), ending.clone());
            let stream = stream::unfold(peer, |mut peer| async {
                peer.next().await.map(|delivery| (delivery, peer))
            });
            deliveries.push(Box::pin(stream) as Deliveries);
        }
        Ok(Box::new(RemoteSubscription {
            deliveries,
            ending,
            is_draining: false,
            close_timeout: self.config.close_timeout,
        }))
    }

    async fn close(&self) {}
}

type Deliveries = Pin<Box<dyn Stream<Item = Delivery> + Send>>;

struct RemoteSubscription {
    deliveries: SelectAll<Deliveries>,
    ending: CancellationToken,
    is_draining: bool,
    close_timeout: Duration,
}

#[async_trait]
impl Subscription for RemoteSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        if self.is_draining {
            return None;
        }
        if self.deliveries.is_empty() {
            // No peer will ever have a record, and that is not the log's end.
            std::future::pending::<()>().await;
        }
        self.deliveries.next().await
    }

    /// What was sent to us and not yet taken goes back when we close.
    fn drain(&mut self) {
        self.is_draining = true;
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.close_timeout)
    }

    async fn close(mut self: Box<Self>) {
        self.ending.cancel();
        let ended = async { while self.deliveries.next().await.is_some() {} };
        if tokio::time::timeout(self.close_timeout, ended)
            .await
            .is_err()
        {
            tracing::warn!("last acknowledgements may not have reached every push log");
        }
    }
}
