use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::breaker::{Breaker, Limits};
use crate::grpc::Connection;

/// How long a node that cannot do its work is avoided.
const TROUBLED_FOR: Duration = Duration::from_secs(1);

/// One node of several.
pub(super) struct Peer {
    pub(super) addr: String,
    pub(super) connection: Connection,
    pub(super) breaker: Arc<Breaker>,
    draining: AtomicBool,
    in_flight: AtomicUsize,
    /// When it said last that it cannot do its work.
    troubled: Mutex<Option<Instant>>,
}

impl Peer {
    pub(super) fn new(addr: &str, connection: Connection, limits: Limits) -> Self {
        Self {
            addr: addr.to_owned(),
            connection,
            breaker: Breaker::new(limits),
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            troubled: Mutex::default(),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Whether it said lately that it cannot do its work, as when its backend is
    /// away: quick to answer, it would be taken for idle.
    pub(super) fn is_troubled(&self, now: Instant) -> bool {
        let since = *self.troubled.lock();
        since.is_some_and(|since| now < since + TROUBLED_FOR)
    }

    pub(super) fn set_troubled(&self) {
        *self.troubled.lock() = Some(Instant::now());
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
