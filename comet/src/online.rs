//! Who is online: this node's rooms for logic, every node's totals for the clients.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use halley_proto::halley::node::NodeStatus;
use tokio::time::{Instant, sleep_until};

use crate::hub::Hub;

/// Members of rooms on other nodes, as logic last told.
#[derive(Debug, Default)]
pub(crate) struct Online {
    elsewhere: ArcSwap<HashMap<String, i32>>,
}

impl Online {
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
pub(crate) async fn exchange(hub: Arc<Hub>, status: Status) {
    let interval = hub.config.logic.online_interval;
    loop {
        let started = Instant::now();
        let result = renew(&hub, &status).await;
        let spent = started.elapsed();
        let pause = match result {
            Ok(()) => interval.max(spent * BUSY_DIVISOR),
            Err(status) => {
                tracing::warn!(error = status.message(), "exchange online counts");
                interval / RETRY_DIVISOR
            }
        };
        let draining = hub.accepting.is_cancelled();
        tokio::select! {
            () = sleep_until(started + spent + pause) => {}
            () = hub.accepting.cancelled(), if !draining => {}
            () = hub.serving.cancelled() => return,
        }
    }
}

/// Tells logic once more, so that what it knows of the node ends with it.
pub(crate) async fn renew(hub: &Hub, status: &Status) -> Result<(), tonic::Status> {
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
    let reported = local.clone();
    let mut totals = hub.calls.renew_online(local, &status.now(hub)).await?;
    totals.retain(|room, total| {
        *total -= reported.get(room).copied().unwrap_or(0);
        *total > 0
    });
    hub.online.elsewhere.store(Arc::new(totals));
    for room in hub.rooms.all() {
        room.set_elsewhere(hub.online.elsewhere(room.name()));
    }
    Ok(())
}

/// What the node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) addrs: Vec<String>,
    pub(crate) grpc: String,
}

impl Status {
    fn now(&self, hub: &Hub) -> NodeStatus {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        NodeStatus {
            hostname: hub.server.clone(),
            region: hub.config.region.clone(),
            zone: hub.config.zone.clone(),
            env: hub.config.env.clone(),
            addrs: self.addrs.clone(),
            grpc: self.grpc.clone(),
            weight: hub.config.weight,
            conn_count: count(hub.buckets.connections()),
            ip_count: count(hub.admission.addresses()),
            draining: hub.accepting.is_cancelled(),
            ..NodeStatus::default()
        }
    }
}
