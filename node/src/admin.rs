//! How a process is watched: `/healthz`, `/readyz` and `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::{DrainOutcome, Readiness, SharedRegistry, Stage, listen};

/// The media type of [`encode`](crate::encode)'s text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: None,
            connections_max: 64,
            header_deadline: Duration::from_secs(10),
        }
    }
}

/// The three routes on a port of their own, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    connections: Arc<Semaphore>,
    header_deadline: Duration,
}

/// The three routes. `/healthz` answers as long as the process can answer at
/// all; `/readyz` says 503 and what it waits for until the process is ready.
pub fn router(registry: SharedRegistry, readiness: Readiness) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry);
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .merge(metrics)
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

impl Server {
    /// Binds the port that `config` names, if it names one.
    pub fn bind(
        config: &Config,
        registry: SharedRegistry,
        readiness: Readiness,
    ) -> io::Result<Option<Self>> {
        let Some(bind) = config.bind else {
            return Ok(None);
        };
        let listener = listen::bind(bind, &listen::Options::default())?;
        Ok(Some(Self {
            address: listener.local_addr()?,
            listener,
            router: router(registry, readiness),
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
                Ok((stream, _)) => {
                    let serve = self.connection(stream, permit, drain.clone());
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
        permit: OwnedSemaphorePermit,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let service = TowerToHyperService::new(self.router.clone());
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
