//! Deadlines without timers: every connection is looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use halley_wire::CloseReason;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::bucket::Swept;
use crate::clock::{Tick, ticks};
use crate::hub::Hub;
use crate::renewals::{self, Due};
use crate::tally::Tally;

/// Time between two looks at the same connection.
const PERIOD: Duration = Duration::from_secs(1);

/// Sweeps until the node ends: one bucket after the other, evenly over the period.
pub(crate) async fn sweep(hub: Arc<Hub>, renewals: mpsc::Sender<Due>) {
    let buckets = hub.buckets.count();
    let step = PERIOD / u32::try_from(buckets).unwrap_or(u32::MAX);
    let mut next = Instant::now();
    for bucket in (0..buckets).cycle() {
        next += step;
        tokio::select! {
            () = sleep_until(next) => {}
            () = hub.serving.cancelled() => return,
        }
        sweep_bucket(&hub, bucket, &renewals);
        if bucket == 0 {
            sweep_rooms(&hub);
            hub.held.release(&hub.rooms, hub.now());
        }
        // After a stall there is no point in catching up sweep by sweep.
        next = next.max(Instant::now() - step);
    }
}

fn sweep_bucket(hub: &Hub, bucket: usize, renewals: &mpsc::Sender<Due>) {
    let now = hub.now();
    let write_ticks = ticks(hub.config.delivery.write_deadline);
    let mut tally = Tally::default();
    hub.buckets.sweep(bucket, now, |entry| {
        let connection = entry.connection;
        let overdue = overdue(&entry, now, write_ticks).filter(|reason| {
            *reason != CloseReason::WriteTimeout
                || !connection.write_blocked(&hub.rules, now, &mut tally)
        });
        if let Some(reason) = overdue {
            connection.close(reason);
        } else if entry.is_due {
            let due = Due {
                slot: entry.slot,
                connection: Arc::clone(connection),
            };
            if renewals.try_send(due).is_ok() {
                entry.set_renewal(renewals::next(hub, now));
            }
        }
    });
    tally.report(&hub.metrics);
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
