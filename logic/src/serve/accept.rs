//! Takes connections from a listener, whatever happens to single ones.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::socket::Socket;
use crate::metrics::{Listener, Metrics};

/// Pauses after errors such as running out of file descriptors, which only
/// time heals.
const BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(10),
    max: Duration::from_secs(1),
};

#[derive(Debug)]
pub(super) struct Accept {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    connections_max: usize,
    write_timeout: Duration,
    name: Listener,
    metrics: Arc<Metrics>,
    now: CancellationToken,
}

impl Accept {
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        write_timeout: Duration,
        name: Listener,
        metrics: Arc<Metrics>,
        now: CancellationToken,
    ) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            listener,
            permits: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            write_timeout,
            name,
            metrics,
            now,
        }
    }

    /// The next connection, as soon as there is one and room for it.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped takes no connection.
    pub(super) async fn next(&self) -> (Socket, SocketAddr) {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("invariant: the semaphore is never closed");
        let mut failures = 0_u32;
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer)) => {
                    return (
                        Socket::new(stream, permit, self.write_timeout, &self.now),
                        peer,
                    );
                }
                Err(error) => error,
            };
            self.metrics.accept_error(self.name);
            // A peer that was gone before it was accepted says nothing about
            // the next one.
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
            ) {
                continue;
            }
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::warn!(listener = self.name.as_str(), %error, "connections cannot be accepted");
            }
            sleep(BACKOFF.pause(failures)).await;
        }
    }

    /// Counts the connections that are open.
    pub(super) fn open(&self) -> Open {
        Open {
            permits: Arc::clone(&self.permits),
            connections_max: self.connections_max,
        }
    }
}

/// Knows how many connections are open, also when no more are accepted.
#[derive(Debug)]
pub(super) struct Open {
    permits: Arc<Semaphore>,
    connections_max: usize,
}

impl Open {
    /// While more are accepted: the one that is waited for has its place already.
    pub(super) fn count_accepting(&self) -> u64 {
        self.count().saturating_sub(1)
    }

    pub(super) fn count(&self) -> u64 {
        self.connections_max
            .saturating_sub(self.permits.available_permits()) as u64
    }
}
