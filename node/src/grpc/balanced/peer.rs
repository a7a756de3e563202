use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::breaker::{Breaker, Limits};
use crate::grpc::Connection;

/// One node of several.
pub(super) struct Peer {
    pub(super) addr: String,
    pub(super) connection: Connection,
    pub(super) breaker: Arc<Breaker>,
    draining: AtomicBool,
    in_flight: AtomicUsize,
}

impl Peer {
    pub(super) fn new(addr: &str, connection: Connection, limits: Limits) -> Self {
        Self {
            addr: addr.to_owned(),
            connection,
            breaker: Breaker::new(limits),
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Calls whose responses have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Counts a call for as long as it lives.
pub(super) struct InFlight(Arc<Peer>);

impl InFlight {
    pub(super) fn of(peer: Arc<Peer>) -> Self {
        peer.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(peer)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
