//! Who is online: this node's rooms for logic, every node's totals for the clients.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use halley_proto::halley::node::{HotRooms, NodeStatus};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::heat::Heat;
use crate::hub::Hub;
use crate::renewals;

/// What is told of rooms, here and by logic.
#[derive(Debug)]
pub(crate) struct Online {
    /// Members on other nodes, as logic last told.
    elsewhere: ArcSwap<HashMap<String, i32>>,
    heat: Mutex<Heat>,
}

impl Online {
    /// Nothing is known of other nodes. A room is hot with more deliveries per second than so many.
    pub(crate) fn new(hot_room_deliveries_per_second: u32) -> Self {
        Self {
            elsewhere: ArcSwap::default(),
            heat: Mutex::new(Heat::new(hot_room_deliveries_per_second)),
        }
    }

    /// Members of `room` on other nodes.
    pub(crate) fn elsewhere(&self, room: &str) -> usize {
        let elsewhere = self.elsewhere.load();
        elsewhere
            .get(room)
            .map_or(0, |members| usize::try_from(*members).unwrap_or(0))
    }
}

/// A failed exchange is tried again this much sooner than the next would come.
const RETRY_DIVISOR: u32 = 2;
/// An exchange may keep the node busy for this part of the time.
const BUSY_DIVISOR: u32 = 10;

/// Exchanges the counts until the node ends, and once more when it drains.
pub(crate) async fn exchange(hub: Arc<Hub>, status: Arc<Status>) {
    let interval = hub.config.logic.online_interval;
    let mut known_epoch = None;
    loop {
        let draining = hub.draining.is_cancelled();
        let started = Instant::now();
        let result = renew(&hub, &status).await;
        let spent = started.elapsed();
        let pause = match result {
            Ok(epoch) => {
                if epoch.is_some() && known_epoch.is_some() && epoch != known_epoch {
                    renewals::renew_all(&hub);
                }
                known_epoch = epoch.or(known_epoch);
                interval.max(spent * BUSY_DIVISOR)
            }
            Err(status) => {
                tracing::warn!(error = status.message(), "exchange online counts");
                interval / RETRY_DIVISOR
            }
        };
        tokio::select! {
            () = sleep_until(started + spent + pause) => {}
            () = hub.draining.cancelled(), if !draining => {}
            () = hub.serving.cancelled() => return,
        }
    }
}

/// Tells logic of the node, once more at its end, so that what logic knows of
/// it ends too. Returns the epoch of the sessions.
pub(crate) async fn renew(hub: &Hub, status: &Status) -> Result<Option<u64>, tonic::Status> {
    let mut local = HashMap::new();
    for room in hub.rooms.all() {
        let members = i32::try_from(room.members()).unwrap_or(i32::MAX);
        if members > 0 {
            local.insert(room.name().to_string(), members);
        }
    }
    hub.metrics
        .rooms
        .set(i64::try_from(local.len()).unwrap_or(i64::MAX));
    let hot_rooms = hot_rooms(hub);
    let status = status.publish(hub);
    let mut totals = hub.calls.renew_online(&local, &status, &hot_rooms).await?;
    totals.rooms.retain(|room, total| {
        *total -= local.get(room).copied().unwrap_or(0);
        *total > 0
    });
    hub.online.elsewhere.store(Arc::new(totals.rooms));
    for room in hub.rooms.all() {
        room.set_elsewhere(hub.online.elsewhere(room.name()));
    }
    Ok(totals.epoch)
}

/// The hottest rooms, now.
fn hot_rooms(hub: &Hub) -> HotRooms {
    let mut heat = hub.online.heat.lock();
    let sent = hub.rooms.all().map(|room| {
        let sent = room.take_sent();
        (Arc::clone(room.name()), room.members(), sent)
    });
    heat.sample(Instant::now(), sent);
    let hottest = heat.hottest();
    hub.metrics.hot_rooms(heat.len(), &hottest);
    hottest
}

/// What the node says of itself.
#[derive(Debug)]
pub(crate) struct Status(watch::Sender<NodeStatus>);

impl Status {
    /// Says at first what does not change.
    pub(crate) fn new(status: NodeStatus) -> Self {
        Self(watch::Sender::new(status))
    }

    /// Follows it.
    pub(crate) fn watch(&self) -> watch::Receiver<NodeStatus> {
        self.0.subscribe()
    }

    /// Whether anybody follows it.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Says what is so now.
    pub(crate) fn publish(&self, hub: &Hub) -> NodeStatus {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut now = self.0.borrow().clone();
        now.conn_count = count(hub.buckets.connections());
        now.ip_count = count(hub.admission.addresses());
        now.draining = hub.draining.is_cancelled();
        self.0.send_if_modified(|last| {
            let is_new = *last != now;
            last.clone_from(&now);
            is_new
        });
        now
    }
}
