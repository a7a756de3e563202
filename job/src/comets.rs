//! The comets that a job delivers to, as it is told of them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use halley_backend::registry::Snapshot;
use halley_proto::goim::comet::comet_server::Comet;
use tokio::sync::watch;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

/// The way to another process, for generated clients.
pub(crate) type Connection =
    BoxCloneSyncService<http::Request<Body>, http::Response<Body>, ConnectionError>;

/// Makes a connection from an address.
pub(crate) type Dial = Arc<dyn Fn(&str) -> Result<Connection, ConnectionError> + Send + Sync>;

/// What went wrong is its source.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectionError(#[source] BoxError);

type BoxError = Box<dyn Error + Send + Sync>;

/// All comets that a job delivers to.
#[derive(Debug, Default)]
pub struct Comets {
    /// Those in this process.
    pub local: Vec<Peer>,
    /// Those in other processes, if there can be any.
    pub remote: Option<Remote>,
}

/// A comet in this process.
#[derive(Clone)]
pub struct Peer {
    /// Its name, as pushes to keys give it.
    pub server: String,
    /// The comet itself.
    pub comet: Arc<dyn Comet>,
}

/// Comets in other processes.
#[derive(Clone)]
pub struct Remote {
    pub(crate) nodes: watch::Receiver<Snapshot>,
    pub(crate) dial: Dial,
}

impl Remote {
    /// The comets of `nodes`, of which those of this process may be part. `dial`
    /// makes a connection from an address as it stands there; it need not be
    /// established yet.
    pub fn new<C, E>(
        nodes: watch::Receiver<Snapshot>,
        dial: impl Fn(&str) -> Result<C, E> + Send + Sync + 'static,
    ) -> Self
    where
        C: Service<http::Request<Body>, Response = http::Response<Body>>,
        C: Clone + Send + Sync + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send + 'static,
        E: Into<BoxError>,
    {
        let dial = move |address: &str| {
            let connection = dial(address).map_err(|error| ConnectionError(error.into()))?;
            let connection = connection.map_err(|error| ConnectionError(error.into()));
            Ok(BoxCloneSyncService::new(connection))
        };
        Self {
            nodes,
            dial: Arc::new(dial),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("nodes", &*self.nodes.borrow())
            .finish_non_exhaustive()
    }
}
