//! Deadlines without timers: every connection is looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use halley_wire::CloseReason;
use rand::RngExt;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{Identity, Swept};
use crate::clock::{Tick, ticks};
use crate::hub::Hub;

/// Time between two looks at the same connection.
const PERIOD: Duration = Duration::from_secs(1);
/// Renewals sent at once.
const RENEWALS_AT_ONCE: usize = 64;

/// Sweeps until the node ends: one bucket after the other, evenly over the period.
pub(crate) async fn sweep(hub: Arc<Hub>) {
    let buckets = hub.buckets.count();
    let step = PERIOD / u32::try_from(buckets).unwrap_or(u32::MAX);
    let mut next = Instant::now();
    for bucket in (0..buckets).cycle() {
        next += step;
        tokio::select! {
            () = sleep_until(next) => {}
            () = hub.serving.cancelled() => return,
        }
        let renewals = sweep_bucket(&hub, bucket);
        renew(&hub, renewals).await;
        if bucket == 0 {
            sweep_rooms(&hub);
        }
        // After a stall there is no point in catching up sweep by sweep.
        next = next.max(Instant::now() - step);
    }
}

fn sweep_bucket(hub: &Hub, bucket: usize) -> Vec<(u64, Identity)> {
    let now = hub.now();
    let write_ticks = ticks(hub.config.delivery.write_deadline);
    let mut renewals = Vec::new();
    hub.buckets.sweep(bucket, now, |entry| {
        let connection = entry.connection;
        if let Some(reason) = overdue(&entry, now, write_ticks) {
            connection.close(reason);
        } else if entry.take_renewal(now, next_renewal(hub, now)) {
            renewals.push((connection.id(), entry.identity.clone()));
        }
    });
    renewals
}

fn overdue(entry: &Swept<'_>, now: Tick, write_ticks: u32) -> Option<CloseReason> {
    let is_stuck = entry
        .connection
        .blocked_since()
        .is_some_and(|since| now.0.saturating_sub(since.0) > write_ticks);
    match () {
        () if entry.is_idle => Some(CloseReason::IdleTimeout),
        () if entry.is_expired => Some(CloseReason::GrantExpired),
        () if is_stuck => Some(CloseReason::WriteTimeout),
        () => None,
    }
}

/// Renewals of connections that came together spread out over time.
pub(crate) fn next_renewal(hub: &Hub, now: Tick) -> Tick {
    let interval = ticks(hub.config.logic.renew_interval).max(1);
    let early = rand::rng().random_range(0..interval.div_ceil(4));
    Tick(now.0.saturating_add(interval - early))
}

async fn renew(hub: &Arc<Hub>, renewals: Vec<(u64, Identity)>) {
    let mut renewals = renewals.into_iter();
    loop {
        let calls = renewals
            .by_ref()
            .take(RENEWALS_AT_ONCE)
            .map(|(number, identity)| hub.calls.heartbeat(number, identity));
        let calls: Vec<_> = calls.collect();
        if calls.is_empty() {
            return;
        }
        futures_util::future::join_all(calls).await;
    }
}

/// Rooms that still hold something get another pass: it gives back what has
/// been read meanwhile, and finds the members that fell behind too far, who
/// will never ask by themselves.
fn sweep_rooms(hub: &Arc<Hub>) {
    let mut held = 0;
    for room in hub.rooms.all() {
        let bytes = room.bytes();
        held += bytes;
        if bytes > 0 && room.wake.raise() {
            hub.walk(room);
        }
    }
    let held = i64::try_from(held).unwrap_or(i64::MAX);
    hub.metrics.room_bytes.set(held);
}
