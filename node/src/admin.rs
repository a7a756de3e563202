//! How a process is watched, `/healthz`, `/readyz` and `/metrics`, and told to
//! drain, `/drain`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::{DrainOutcome, Drains, Readiness, SharedRegistry, Stage, listen};

/// The media type of [`encode`](crate::encode)'s text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const METRICS: &str = "/metrics";

/// Waits after a failed accept, so that a lack of open files does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The port on which a process without an HTTP port of its own is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Unset: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<SocketAddr>,
    /// Connections served at a time; more wait to be accepted.
    pub connections_max: u32,
    /// How long a request's header may take, and an idle connection stays.
    #[serde(with = "humantime_serde")]
    pub header_deadline: Duration,
    /// Let other machines have the process drain as well.
    pub remote_drain: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: None,
            connections_max: 64,
            header_deadline: Duration::from_secs(10),
            remote_drain: false,
        }
    }
}

/// The routes on a port of their own, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    connections: Arc<Semaphore>,
    header_deadline: Duration,
}

/// The routes to watch a process by. `/healthz` answers as long as the process can answer at
/// all; `/readyz` says 503 and what it waits for until the process is ready.
pub fn router(registry: SharedRegistry, readiness: Readiness) -> Router {
    let metrics = Router::new()
        .route(METRICS, get(metrics))
        .with_state(registry);
    Router::new()
        .route(HEALTHZ, get(async || "ok"))
        .route(READYZ, get(readyz))
        .with_state(readiness)
        .merge(metrics)
}

/// Whether [`router`] has a route for `path`.
pub fn answers(path: &str) -> bool {
    [HEALTHZ, READYZ, METRICS].contains(&path)
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    if readiness.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned());
    }
    let waiting = readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let text = format!("waiting for {}", waiting.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn metrics(State(registry): State<SharedRegistry>) -> Response {
    let text = crate::encode(&registry);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

/// Who may have the process drain, and how.
#[derive(Clone, Debug)]
struct Drain {
    drains: Drains,
    remote: bool,
}

/// Answers when everything but this port has drained, with how it went.
async fn drain(
    State(Drain { drains, remote }): State<Drain>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if !remote && !peer.ip().to_canonical().is_loopback() {
        let text = "other machines may not: admin.remote_drain is false";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    // Browsers send it with whatever a page has them post, to any address that
    // they can reach.
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "web pages may not").into_response();
    }
    info!(%peer, "drain requested");
    Json(drains.drain().await).into_response()
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

impl Server {
    /// Binds the port that `config` names, if it names one.
    pub fn bind(
        config: &Config,
        registry: SharedRegistry,
        readiness: Readiness,
        drains: Drains,
    ) -> io::Result<Option<Self>> {
        let Some(bind) = config.bind else {
            return Ok(None);
        };
        let listener = listen::bind(bind, &listen::Options::default())?;
        let drain = Router::new()
            .route("/drain", post(drain))
            .with_state(Drain {
                drains,
                remote: config.remote_drain,
            });
        Ok(Some(Self {
            address: listener.local_addr()?,
            listener,
            router: router(registry, readiness).merge(drain),
            connections: Arc::new(Semaphore::new(config.connections_max.max(1) as usize)),
            header_deadline: config.header_deadline,
        }))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts serving. The stage belongs at the end of the drain order, so that
    /// a draining process can still be watched.
    pub fn spawn(self) -> Stage {
        let (drain, now) = (CancellationToken::new(), CancellationToken::new());
        let done = self.serve(drain.clone(), now.clone());
        Stage::new("admin", drain, now, async { Ok(done.await) })
    }

    async fn serve(self, drain: CancellationToken, now: CancellationToken) -> DrainOutcome {
        let connections = TaskTracker::new();
        drain
            .run_until_cancelled(self.accept(&connections, &drain, &now))
            .await;
        connections.close();
        connections.wait().await;
        // A scrape that is cut off is asked again.
        DrainOutcome::default()
    }

    async fn accept(
        &self,
        connections: &TaskTracker,
        drain: &CancellationToken,
        now: &CancellationToken,
    ) {
        loop {
            let permit = Arc::clone(&self.connections)
                .acquire_owned()
                .await
                .expect("invariant: the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let serve = self.connection(stream, Peer(peer), permit, drain.clone());
                    let now = now.clone();
                    connections.spawn(async move { now.run_until_cancelled(serve).await });
                }
                Err(error) => {
                    warn!(%error, "accept admin connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        peer: Peer,
        permit: OwnedSemaphorePermit,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let router = self.router.clone().layer(Extension(peer));
        let service = TowerToHyperService::new(router);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_deadline)
            .serve_connection(TokioIo::new(stream), service);
        async move {
            let _permit = permit;
            let mut serving = std::pin::pin!(serving);
            let served = tokio::select! {
                served = serving.as_mut() => served,
                () = drain.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = served {
                debug!(%error, "admin connection");
            }
        }
    }
}

#[cfg(test)]
mod tests;
