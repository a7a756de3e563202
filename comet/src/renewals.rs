//! Keeping the connections' bindings alive: each from time to time, and all of
//! them, at a bounded pace, when logic has lost its sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::RngExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::bucket::Slot;
use crate::clock::{Tick, ticks};
use crate::connection::Connection;
use crate::hub::Hub;

/// Shortest time in which a renewal that failed is tried again; at most twice as long.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Renewals leave most of the calls to the clients: they get one part in so many.
const CALLS_DIVISOR: usize = 4;
/// Renewals that wait at least, whatever the pace.
const QUEUE_MIN: usize = 1024;

/// A binding that is due for renewal.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) slot: Slot,
    pub(crate) connection: Arc<Connection>,
}

/// Where the sweep leaves what is due; what finds no place stays due.
pub(crate) fn queue(hub: &Hub) -> (mpsc::Sender<Due>, mpsc::Receiver<Due>) {
    let per_second = hub.config.logic.reregister_per_second;
    let places = usize::try_from(per_second).unwrap_or(usize::MAX);
    mpsc::channel(places.clamp(QUEUE_MIN, tokio::sync::Semaphore::MAX_PERMITS))
}

/// Renews what is due until the node ends.
pub(crate) async fn renew(hub: Arc<Hub>, due: mpsc::Receiver<Due>) {
    let calls_max = hub.config.logic.in_flight_max.div_ceil(CALLS_DIVISOR);
    ReceiverStream::new(due)
        .take_until(hub.serving.cancelled())
        .for_each_concurrent(calls_max, |due| renew_one(&hub, due))
        .await;
}

async fn renew_one(hub: &Hub, due: Due) {
    tokio::select! {
        () = ask_to_renew(hub, due) => {}
        () = hub.serving.cancelled() => {}
    }
}

async fn ask_to_renew(hub: &Hub, due: Due) {
    // Of a connection that has ended meanwhile nothing may be bound again.
    let Some(identity) = hub.buckets.identity(due.slot, &due.connection) else {
        return;
    };
    let number = due.connection.id();
    let renewed = hub.calls.heartbeat(number, identity.clone()).await;
    if renewed.is_err() {
        hub.metrics.renewals_failed.inc();
        let late = rand::rng().random_range(0..ticks(RETRY_MIN));
        let again = hub.now().after(RETRY_MIN).0.saturating_add(late);
        let again = Tick(again);
        hub.buckets.set_renewal(due.slot, &due.connection, again);
    }
    // The Disconnect of a connection that ended during the call may have come before
    // it, and the key is bound to nobody. A newer connection that has the key here
    // could lose it: Go logics compare no numbers.
    if hub.buckets.get(&identity.key).is_none() {
        hub.calls.disconnect(number, identity).await;
    }
}

/// When a binding that is renewed now is to be renewed next. Renewals of
/// connections that came together spread out over time.
pub(crate) fn next(hub: &Hub, now: Tick) -> Tick {
    let interval = ticks(hub.config.logic.renew_interval).max(1);
    let early = rand::rng().random_range(0..interval.div_ceil(4));
    Tick(now.0.saturating_add(interval - early))
}

/// Has every binding renewed, so many a second. Doing so again starts over.
pub(crate) fn renew_all(hub: &Hub) {
    let per_second = u64::from(hub.config.logic.reregister_per_second.max(1));
    let now = hub.now();
    let mut connections = 0;
    for bucket in 0..hub.buckets.count() {
        hub.buckets.sweep(bucket, now, |entry| {
            let wait = Duration::from_millis(connections * 1000 / per_second);
            entry.set_renewal(now.after(wait));
            connections += 1;
        });
    }
    hub.metrics.reregistered.inc_by(connections);
    tracing::warn!(connections, "logic has lost its sessions: binding anew");
}
