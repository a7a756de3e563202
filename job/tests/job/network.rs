//! A network within the process: addresses, and nodes that serve there.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Bytes under way on a connection in each direction.
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Clone, Default)]
pub(crate) struct Network {
    nodes: Arc<Mutex<HashMap<String, Node>>>,
}

struct Node {
    connections: mpsc::UnboundedSender<DuplexStream>,
    /// Cancelled to end the connections that there are.
    cut: CancellationToken,
    is_silent: watch::Sender<bool>,
}

impl Network {
    /// Starts a node at `address`, in place of the one there.
    pub(crate) fn serve(&self, address: &str, services: Router) {
        let (connections, accepted) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(accepted).map(Ok::<DuplexStream, io::Error>);
        TaskTracker::new().spawn(services.serve_with_incoming(incoming));
        self.take_down(address);
        let node = Node {
            connections,
            cut: CancellationToken::new(),
            is_silent: watch::Sender::new(false),
        };
        self.nodes.lock().insert(address.to_owned(), node);
    }

    /// The node at `address` is gone, and its connections with it.
    pub(crate) fn take_down(&self, address: &str) {
        if let Some(node) = self.nodes.lock().remove(address) {
            node.cut.cancel();
        }
    }

    /// Ends the connections to `address`.
    pub(crate) fn cut(&self, address: &str) {
        if let Some(node) = self.nodes.lock().get_mut(address) {
            std::mem::take(&mut node.cut).cancel();
        }
    }

    /// Whether nothing gets through to and from `address`.
    pub(crate) fn silence(&self, address: &str, is_silent: bool) {
        if let Some(node) = self.nodes.lock().get(address) {
            node.is_silent.send_replace(is_silent);
        }
    }

    /// A connection to `address`, established when it is used.
    pub(crate) fn dial(&self, address: &str) -> Channel {
        let (network, address) = (self.clone(), address.to_owned());
        let connect = move |_: Uri| {
            let connected = network.connect(&address).map(TokioIo::new);
            async { connected }
        };
        let endpoint = Endpoint::from_static("http://node");
        endpoint.connect_with_connector_lazy(service_fn(connect))
    }

    fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let nodes = self.nodes.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let node = nodes.get(address).ok_or_else(refused)?;
        let (ours, near) = tokio::io::duplex(BUFFER_BYTES);
        let (far, theirs) = tokio::io::duplex(BUFFER_BYTES);
        node.connections.send(theirs).map_err(|_| refused())?;
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let there = carry(near_read, far_write, node.is_silent.subscribe());
        let back = carry(far_read, near_write, node.is_silent.subscribe());
        let cut = node.cut.clone();
        TaskTracker::new().spawn(cut.run_until_cancelled_owned(async {
            tokio::join!(there, back);
        }));
        Ok(ours)
    }
}

/// Carries bytes from one end to another, except while it is silent.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        // A node that is taken down leaves its connections to their end.
        let _ = is_silent.wait_for(|is_silent| !is_silent).await;
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
