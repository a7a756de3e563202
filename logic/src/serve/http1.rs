//! Serves the HTTP API.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use halley_node::DrainOutcome;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Accept;
use super::socket::Socket;
use crate::config::HttpConfig;
use crate::http::UnderWay;

const PUSH_PREFIX: &str = "/goim/push/";

/// Serves `router` until `drain` is cancelled, then finishes what is under way,
/// until `now` is. Requests that push are in `pushes` until they are answered.
pub(super) async fn serve(
    accept: Accept,
    router: Router,
    pushes: TaskTracker,
    config: &HttpConfig,
    drain: &CancellationToken,
    now: &CancellationToken,
) -> DrainOutcome {
    let router = router.layer(middleware::from_fn(
        move |mut request: Request, next: Next| {
            let is_push = request.uri().path().starts_with(PUSH_PREFIX);
            let under_way = is_push.then(|| UnderWay::new(pushes.token()));
            if let Some(under_way) = &under_way {
                request.extensions_mut().insert(under_way.clone());
            }
            async move {
                let response = next.run(request).await;
                drop(under_way);
                response
            }
        },
    ));
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_bytes_max);
    let server = Arc::new(Server {
        protocol,
        service: TowerToHyperService::new(router),
        drain: drain.clone(),
        now: now.clone(),
    });
    let connections = TaskTracker::new();
    loop {
        let (socket, peer) = tokio::select! {
            accepted = accept.next() => accepted,
            () = drain.cancelled() => break,
        };
        connections.spawn(Arc::clone(&server).serve(socket, peer));
    }
    // Whoever connects from now on is to learn at once that nobody listens.
    drop(accept);
    connections.close();
    let open = connections.len() as u64;
    let forced = tokio::select! {
        () = connections.wait() => 0,
        () = now.cancelled() => connections.len() as u64,
    };
    connections.wait().await;
    DrainOutcome {
        clean: open.saturating_sub(forced),
        forced,
    }
}

struct Server {
    protocol: http1::Builder,
    service: TowerToHyperService<Router>,
    drain: CancellationToken,
    now: CancellationToken,
}

impl Server {
    async fn serve(self: Arc<Self>, socket: Socket, peer: SocketAddr) {
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            self.service.call(request)
        });
        let connection = self
            .protocol
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.now.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "http connection broke off");
        }
    }
}
