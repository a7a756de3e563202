//! Taking leave: of the node lists, of the clients, of the jobs.

use std::sync::Arc;
use std::time::Duration;

use halley_node::DrainOutcome;
use halley_wire::CloseReason;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::broadcast::pace;
use crate::hub::Hub;
use crate::online::{self, Status};

/// Batches of goodbyes in a second, if all their slots are taken.
const GOODBYES_PER_SECOND: usize = 20;
/// Connections that are let go before others get their turn.
const LET_GO_BATCH: usize = 256;
/// For the last reports to jobs, and for the last words to logic.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends the node's part in everything. Until the last client is gone it takes
/// what jobs send: what is for clients that have left is counted as offline.
pub(crate) async fn drain(hub: &Arc<Hub>, status: &Status) -> DrainOutcome {
    hub.draining.cancel();
    status.publish(hub);
    if status.is_watched() {
        tokio::select! {
            () = sleep(hub.config.drain.notice) => {}
            () = hub.serving.cancelled() => {}
        }
    }
    let outcome = say_goodbye(hub).await;
    hub.streams_end.cancel();
    hub.streams.close();
    let (streams, told) = tokio::join!(
        timeout(FAREWELL_TIMEOUT, hub.streams.wait()),
        timeout(FAREWELL_TIMEOUT, online::renew(hub, status)),
    );
    if streams.is_err() {
        tracing::warn!("a job did not take the last report");
    }
    if !matches!(told, Ok(Ok(_))) {
        tracing::warn!("logic was not told that this node ends");
    }
    outcome
}

/// Stops accepting and sends the clients away, a few at a time.
async fn say_goodbye(hub: &Arc<Hub>) -> DrainOutcome {
    hub.accepting.cancel();
    hub.tasks.close();
    hub.broadcasts.close();
    tokio::select! {
        () = hub.broadcasts.wait() => {}
        () = hub.serving.cancelled() => {}
    }
    let total = u64::try_from(hub.buckets.connections()).unwrap_or(u64::MAX);
    let per_second = hub.config.drain.connections_per_second.max(1);
    let batch = (per_second / GOODBYES_PER_SECOND).max(1);
    let started = Instant::now();
    let mut connections = Vec::new();
    let mut from = 0;
    let mut told = 0;
    while hub.buckets.copy_connections(from, batch, &mut connections) {
        from += batch;
        tokio::select! {
            () = sleep_until(started + pace(told, in_u32(per_second))) => {}
            () = hub.serving.cancelled() => {}
        }
        for connection in &connections {
            connection.close(CloseReason::Draining);
        }
        told += connections.len() as u64;
    }
    tokio::select! {
        () = hub.tasks.wait() => {}
        () = let_go(hub) => {}
        () = hub.serving.cancelled() => {}
    }
    let forced = u64::try_from(hub.buckets.connections()).unwrap_or(u64::MAX);
    DrainOutcome {
        clean: total.saturating_sub(forced),
        forced,
    }
}

/// Ends the wait for clients that do not take what waits for them. Never returns.
async fn let_go(hub: &Hub) {
    sleep(hub.config.drain.unsent_wait).await;
    hub.leaving.cancel();
    let mut connections = Vec::new();
    let mut from = 0;
    while hub
        .buckets
        .copy_connections(from, LET_GO_BATCH, &mut connections)
    {
        from += LET_GO_BATCH;
        for connection in &connections {
            connection.close(CloseReason::Draining);
        }
        yield_now().await;
    }
    std::future::pending::<()>().await;
}

fn in_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
