//! A memory log served over loopback, and what is particular to that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use halley_backend::push_log::{
    Delivery, MemoryConfig, MemoryPushLog, PublishError, PushLog, PushLogService, RemoteConfig,
    RemotePeer, RemotePushLog, ServiceConfig,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use super::push_log::{Logs, eventually, message, next, number};

/// A server in a runtime of its own, so that it can be killed like a process.
pub(crate) struct Served {
    runtime: Option<Runtime>,
    pub(crate) channel: Channel,
}

impl Served {
    pub(crate) async fn start(log: Arc<dyn PushLog>, config: ServiceConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.handle().spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            let service = PushLogService::new(log, config).into_server();
            let router = Server::builder().add_service(service);
            router.serve_with_incoming(incoming).await.unwrap();
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            runtime: Some(runtime),
            channel: endpoint.connect_lazy(),
        }
    }

    /// A memory log behind a server.
    pub(crate) async fn logs() -> Logs {
        let log = Arc::new(MemoryPushLog::new(MemoryConfig::default()));
        let served = Self::start(Arc::clone(&log) as _, ServiceConfig::default()).await;
        Logs {
            publisher: log,
            subscriber: Arc::new(remote(&[&served])),
            _served: Some(served),
        }
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

fn remote(peers: &[&Served]) -> RemotePushLog<Channel> {
    let peers = peers.iter().map(|served| RemotePeer {
        name: "logic".to_owned(),
        transport: served.channel.clone(),
    });
    RemotePushLog::new(peers.collect(), RemoteConfig::default())
}

fn memory() -> Arc<MemoryPushLog> {
    Arc::new(MemoryPushLog::new(MemoryConfig::default()))
}

#[tokio::test]
async fn a_remote_log_does_not_publish() {
    let refused = remote(&[]).publish(vec![message("a", 1)]).await;

    assert!(matches!(refused, Err(PublishError::Unavailable(_))));
}

#[tokio::test]
async fn the_logs_of_all_peers_are_read() {
    let (first, second) = (memory(), memory());
    let config = ServiceConfig::default();
    let served_first = Served::start(Arc::clone(&first) as _, config.clone()).await;
    let served_second = Served::start(Arc::clone(&second) as _, config).await;
    let remote = remote(&[&served_first, &served_second]);
    let mut subscription = remote.subscribe().await.unwrap();
    first.publish(vec![message("a", 1)]).await.unwrap();
    second.publish(vec![message("a", 2)]).await.unwrap();

    let mut numbers = Vec::new();
    for _ in 0..2 {
        let delivery = next(&mut subscription).await;
        numbers.push(number(&delivery));
        delivery.ack.done();
    }

    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    first.drained().await;
    second.drained().await;
}

#[tokio::test]
async fn a_peer_that_is_away_does_not_hold_up_the_others() {
    let log = memory();
    let mut away = Served::start(memory(), ServiceConfig::default()).await;
    away.kill();
    let served = Served::start(Arc::clone(&log) as _, ServiceConfig::default()).await;
    let mut subscription = remote(&[&away, &served]).subscribe().await.unwrap();
    log.publish(vec![message("a", 1)]).await.unwrap();

    next(&mut subscription).await.ack.done();

    log.drained().await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_acknowledge_gets_no_more() {
    let log = memory();
    let config = ServiceConfig {
        in_flight_max: 10,
        ..ServiceConfig::default()
    };
    let served = Served::start(Arc::clone(&log) as _, config).await;
    let mut lazy = remote(&[&served]).subscribe().await.unwrap();
    let records = (0..30).map(|number| message("a", number)).collect();
    log.publish(records).await.unwrap();
    let mut held: Vec<Delivery> = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut lazy).await);
    }
    assert!(lazy.next().now_or_never().is_none());

    for expected in 0..30 {
        let delivery = if held.is_empty() {
            next(&mut lazy).await
        } else {
            held.remove(0)
        };
        assert_eq!(number(&delivery), expected);
        delivery.ack.done();
    }
    log.drained().await;
}

#[tokio::test]
async fn records_of_a_broken_stream_come_again_with_their_age() {
    let log = memory();
    let mut first = Served::start(Arc::clone(&log) as _, ServiceConfig::default()).await;
    let mut subscription = remote(&[&first]).subscribe().await.unwrap();
    log.publish(vec![message("a", 0), message("a", 1)])
        .await
        .unwrap();
    let before = next(&mut subscription).await;
    before.ack.done();
    eventually(async || log.depth().unwrap().records == 1).await;
    let held = next(&mut subscription).await;

    first.kill();
    let second = Served::start(Arc::clone(&log) as _, ServiceConfig::default()).await;
    let mut other = remote(&[&second]).subscribe().await.unwrap();
    let again = next(&mut other).await;

    assert_eq!(number(&again), 1);
    let apart = again.published.max(held.published) - again.published.min(held.published);
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    held.ack.done();
    assert_eq!(log.depth().unwrap().records, 1, "its stream is gone");
    again.ack.done();
    log.drained().await;
}

#[tokio::test]
async fn a_closed_log_ends_the_stream_after_the_last_acknowledgement() {
    let log = memory();
    let served = Served::start(Arc::clone(&log) as _, ServiceConfig::default()).await;
    let mut subscription = remote(&[&served]).subscribe().await.unwrap();
    log.publish(vec![message("a", 0)]).await.unwrap();
    let held = next(&mut subscription).await;
    log.close().await;
    assert!(subscription.next().now_or_never().is_none());

    held.ack.done();

    log.drained().await;
}
