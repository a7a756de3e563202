//! Serves the gRPC services.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use anyhow::Context as _;
use futures_util::stream;
use halley_backend::push_log::PushLogService;
use halley_node::grpc::{Trust, health};
use halley_node::{DrainOutcome, Readiness};
use halley_proto::goim::logic::logic_server::{LogicServer, SERVICE_NAME};
use halley_proto::halley::push_log::push_log_server::PushLogServer;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

use super::accept::Accept;
use super::socket::Socket;
use crate::config::RpcConfig;
use crate::rpc::Rpc;

/// goim's clients open their windows as far; small ones would make them wait.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Of one call's metadata.
const METADATA_BYTES_MAX: u32 = 64 * 1024;

/// What is served.
pub(super) struct Services {
    pub(super) rpc: Rpc,
    pub(super) push_log: Option<PushLogServer<PushLogService>>,
    /// What the health service says.
    pub(super) readiness: Readiness,
    /// Who may call.
    pub(super) trust: Trust,
}

/// Serves until `drain` is cancelled, then finishes the calls under way, until
/// `now` is.
pub(super) async fn serve(
    accept: Accept,
    services: Services,
    config: &RpcConfig,
    drain: &CancellationToken,
    now: &CancellationToken,
) -> anyhow::Result<DrainOutcome> {
    let Services {
        rpc,
        push_log,
        readiness,
        trust,
    } = services;
    let admit = trust.layer();
    // A goim comet sends some calls with gzip and takes answers so.
    let logic = LogicServer::new(rpc)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    let open = accept.open();
    let incoming = stream::unfold((accept, trust), |(accept, trust)| async {
        let (socket, _): (Socket, SocketAddr) = accept.next().await;
        Some((Ok::<_, io::Error>(trust.accept(socket)), (accept, trust)))
    });
    let serving = Server::builder()
        .timeout(config.request_timeout)
        .max_concurrent_streams(config.streams_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        // Who gives up many calls at once waited for a node that was late: nodes are trusted.
        .http2_max_pending_accept_reset_streams(Some(config.streams_max as usize))
        .http2_keepalive_interval(Some(config.keepalive_interval))
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
        .layer(admit)
        .add_service(health::service(readiness, &[SERVICE_NAME]))
        .add_service(logic)
        .add_optional_service(push_log)
        .serve_with_incoming_shutdown(incoming, drain.clone().cancelled_owned());
    let mut serving = pin!(serving);
    let mut outcome = DrainOutcome::default();
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = drain.cancelled() => {
            outcome.clean = open.count_accepting();
            tokio::select! {
                ended = serving.as_mut() => ended,
                () = now.cancelled() => {
                    outcome.forced = open.count();
                    outcome.clean = outcome.clean.saturating_sub(outcome.forced);
                    // The sockets fail now, and with them their connections.
                    serving.await
                }
            }
        }
    };
    ended.context("serve grpc")?;
    Ok(outcome)
}
