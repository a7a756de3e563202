//! Serves the gRPC services.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{Stream, stream};
use halley_node::Readiness;
use halley_node::grpc::{Accepted, Trust, health};
use halley_proto::goim::comet::comet_server::{self, CometServer};
use halley_proto::halley::delivery::delivery_server::{self, DeliveryServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::hub::Hub;
use crate::{delivery, rpc};

/// goim's clients open their windows as far; small ones would make them wait.
const WINDOW_BYTES: u32 = 16 << 20;
/// Of one call's metadata.
const METADATA_BYTES_MAX: u32 = 64 << 10;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Who is asked about by name.
const SERVICES: &[&str] = &[comet_server::SERVICE_NAME, delivery_server::SERVICE_NAME];

/// What is served.
pub(super) struct Services {
    pub(super) comet: Arc<rpc::Service>,
    pub(super) delivery: delivery::Service,
    /// What the health service says.
    pub(super) readiness: Readiness,
    /// Who may call.
    pub(super) trust: Trust,
}

/// Serves until `end` is cancelled, then finishes the calls under way.
pub(super) async fn serve(
    hub: Arc<Hub>,
    listener: TcpListener,
    services: Services,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let config = &hub.config.rpc;
    let comet = CometServer::from_arc(services.comet)
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    let delivery = DeliveryServer::new(services.delivery)
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    Server::builder()
        .max_concurrent_streams(config.streams_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        // Who gives up many calls at once waited for a node that was late: nodes are trusted.
        .http2_max_pending_accept_reset_streams(Some(config.streams_max as usize))
        .http2_keepalive_interval(Some(config.keepalive_interval))
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
        .layer(services.trust.layer())
        .add_service(health::service(services.readiness, SERVICES))
        .add_service(comet)
        .add_service(delivery)
        .serve_with_incoming_shutdown(
            incoming(Arc::clone(&hub), listener, services.trust),
            end.cancelled_owned(),
        )
        .await
        .context("serve comet gRPC")
}

/// Accepts whatever happens: tonic would stop at an error.
fn incoming(
    hub: Arc<Hub>,
    listener: TcpListener,
    trust: Trust,
) -> impl Stream<Item = io::Result<Accepted<TcpStream>>> {
    stream::unfold((hub, listener, trust), |(hub, listener, trust)| async {
        let socket = loop {
            match listener.accept().await {
                Ok((socket, _)) => break socket,
                Err(error) => {
                    hub.metrics.accept_errors.inc();
                    tracing::warn!(%error, "accept a node");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        Some((Ok(trust.accept(socket)), (hub, listener, trust)))
    })
}
