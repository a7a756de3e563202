//! Serves the HTTP API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use halley_node::DrainOutcome;
use halley_node::admin;
use http_body_util::Either;
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
use crate::http::Api;

/// Serves `api`, and what every process answers, until `drain` is cancelled, then
/// finishes what is under way, until `now` is.
pub(super) async fn serve(
    accept: Accept,
    api: Api,
    admin: Router,
    config: &HttpConfig,
    drain: &CancellationToken,
    now: &CancellationToken,
) -> DrainOutcome {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_bytes_max)
        // What a client asked for is done although it has left: it may have been
        // published already, and then counts. Nothing has to be read meanwhile.
        .half_close(true)
        // Answers are small: one copy costs less than a second slice of a write.
        .writev(false);
    let server = Arc::new(Server {
        protocol,
        api,
        admin: TowerToHyperService::new(admin),
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
    api: Api,
    admin: TowerToHyperService<Router>,
    drain: CancellationToken,
    now: CancellationToken,
}

impl Server {
    async fn serve(self: Arc<Self>, socket: Socket, peer: SocketAddr) {
        let service = service_fn(async |request: hyper::Request<Incoming>| {
            if admin::answers(request.uri().path()) {
                return Ok(self.admin.call(request).await?.map(Either::Left));
            }
            let answer = self.api.answer(peer.ip(), request).await;
            Ok::<_, Infallible>(answer.map(Either::Right))
        });
        let connection = self
            .protocol
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            biased;
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
