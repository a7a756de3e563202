//! Serves the gRPC services.

use std::sync::Arc;

use anyhow::Context as _;
use halley_proto::goim::comet::comet_server::CometServer;
use halley_proto::halley::delivery::delivery_server::DeliveryServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::config::Rpc;
use crate::{delivery, rpc};

/// goim's clients open their windows as far; small ones would make them wait.
const WINDOW_BYTES: u32 = 16 << 20;

/// Serves until `end` is cancelled, then finishes the calls under way.
pub(super) async fn serve(
    listener: TcpListener,
    comet: Arc<rpc::Service>,
    delivery: delivery::Service,
    config: Rpc,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let comet = CometServer::from_arc(comet)
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    let delivery = DeliveryServer::new(delivery)
        .max_decoding_message_size(config.message_bytes_max)
        .max_encoding_message_size(config.message_bytes_max);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(config.keepalive_interval))
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
        .add_service(comet)
        .add_service(delivery)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), end.cancelled_owned())
        .await
        .context("serve comet gRPC")
}
