//! What the tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use halley_node::{Registry, SharedRegistry, encode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

type Script = dyn Fn(usize, &Received) -> Reply + Send + Sync;

/// An HTTP server that does what a test says, and remembers what it got.
pub(crate) struct Server {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    arrived: Arc<Notify>,
    _stop: DropGuard,
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server does about a request.
pub(crate) enum Reply {
    Answer(u16, String),
    /// Answers when told to.
    After(Arc<Notify>, u16, String),
    Redirect(String),
    /// Never answers.
    Silence,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Script>,
    received: Arc<Mutex<Vec<Received>>>,
    arrived: Arc<Notify>,
}

impl Server {
    /// Starts a server whose `script` says what to do about the n-th request,
    /// counted from 0.
    pub(crate) async fn start(
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Shared {
            script: Arc::new(script),
            received: Arc::default(),
            arrived: Arc::default(),
        };
        let stop = CancellationToken::new();
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let end = stop.clone();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                served = std::future::IntoFuture::into_future(axum::serve(listener, router)) => served.unwrap(),
                () = end.cancelled() => {}
            }
        });
        Self {
            url,
            received: shared.received,
            arrived: shared.arrived,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// Waits for that many requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let wait = async {
            loop {
                let mut arrived = std::pin::pin!(self.arrived.notified());
                arrived.as_mut().enable();
                let received = self.received();
                if received.len() >= count {
                    return received;
                }
                arrived.await;
            }
        };
        timeout(PATIENCE, wait).await.expect("requests arrive")
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let received = Received {
        headers: head.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    };
    let reply = {
        let mut all = shared.received.lock();
        all.push(received);
        (shared.script)(all.len() - 1, &all[all.len() - 1])
    };
    shared.arrived.notify_waiters();
    let (status, location, body) = match reply {
        Reply::Answer(status, body) => (status, None, body),
        Reply::After(go, status, body) => {
            go.notified().await;
            (status, None, body)
        }
        Reply::Redirect(location) => (307, Some(location), String::new()),
        Reply::Silence => std::future::pending().await,
    };
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header("location", location);
    }
    response.body(Body::from(body)).unwrap()
}

/// Metrics whose numbers can be read.
pub(crate) struct Measured {
    pub(crate) metrics: Arc<Metrics>,
    registry: SharedRegistry,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        Self {
            metrics,
            registry: Arc::new(parking_lot::Mutex::new(registry)),
        }
    }

    /// The value of a sample such as `name_total{label="value"}`; 0 when there
    /// is none.
    pub(crate) fn value(&self, sample: &str) -> u64 {
        let text = encode(&self.registry);
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
            .map_or(0, |value| value.parse().unwrap())
    }
}
