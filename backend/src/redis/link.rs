//! A connection to one server or to the masters of a cluster.

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Cmd, Pipeline, RedisFuture, Value};

/// Clones share the connection.
#[derive(Clone)]
pub(super) struct Link {
    id: u64,
    to: To,
}

#[derive(Clone)]
pub(super) enum To {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) fn new(id: u64, to: To) -> Self {
        Self { id, to }
    }

    /// Tells this connection from those before and after it.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn connection(&self) -> &dyn ConnectionLike {
        match &self.to {
            To::Server(connection) => connection,
            To::Cluster(connection) => connection,
        }
    }

    fn connection_mut(&mut self) -> &mut dyn ConnectionLike {
        match &mut self.to {
            To::Server(connection) => connection,
            To::Cluster(connection) => connection,
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection_mut().req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection_mut()
            .req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection().get_db()
    }
}
