//! Reads the log and deals its records to the lanes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use halley_backend::push_log::{Subscription, partition};
use halley_proto::goim::logic::push_msg::Type;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Config;
use crate::lane::{Lane, Refused};
use crate::metrics::{Metrics, Outcome};
use crate::record::{Part, Record, Target};

/// The lanes of one comet.
pub(crate) struct Route {
    pub(crate) server: String,
    pub(crate) lanes: Vec<Lane>,
}

pub(crate) struct Consumer {
    config: Config,
    routes: Vec<Route>,
    by_server: HashMap<String, usize>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
    now: CancellationToken,
}

impl Consumer {
    pub(crate) fn new(
        config: Config,
        routes: Vec<Route>,
        metrics: Arc<Metrics>,
        drain: CancellationToken,
        now: CancellationToken,
    ) -> Self {
        let servers = routes.iter().map(|route| route.server.clone());
        Self {
            by_server: servers.zip(0..).collect(),
            config,
            routes,
            metrics,
            drain,
            now,
        }
    }

    /// Ends when nothing is left to read after `drain`, or with `now`, and its
    /// ends of the lanes with it.
    pub(crate) async fn run(mut self, subscription: &mut dyn Subscription) {
        let mut is_draining = false;
        loop {
            // The order only decides what is noticed first.
            let delivery = tokio::select! {
                biased;
                () = self.now.cancelled() => return,
                () = self.drain.cancelled(), if !is_draining => {
                    subscription.drain();
                    is_draining = true;
                    continue;
                }
                delivery = subscription.next() => delivery,
            };
            let Some(delivery) = delivery else {
                break;
            };
            let record = Record::new(delivery, self.config.push_deadline, &self.metrics);
            self.deal(&record).await;
        }
        // A log that was closed is not the end of the process yet.
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = self.now.cancelled() => {}
        }
    }

    async fn deal(&mut self, record: &Arc<Record>) {
        let msg = &record.msg;
        match Type::try_from(msg.r#type) {
            Ok(Type::Push) if !msg.keys.is_empty() => self.deal_keys(record).await,
            Ok(Type::Room) if !msg.room.is_empty() => {
                self.deal_to_all(record, &msg.room, Target::Room).await;
            }
            Ok(Type::Broadcast) => {
                let operation = msg.operation.to_string();
                self.deal_to_all(record, &operation, Target::Everyone).await;
            }
            Ok(Type::Push | Type::Room) | Err(_) => {
                debug!(r#type = msg.r#type, "record without a target");
                Part::of_nobody(record).end(Outcome::Malformed);
            }
        }
    }

    async fn deal_keys(&mut self, record: &Arc<Record>) {
        let msg = &record.msg;
        let Some(&route) = self.by_server.get(&msg.server) else {
            debug!(
                server = msg.server,
                keys = msg.keys.len(),
                "push to unknown server"
            );
            Part::new(record, Target::AllKeys).end(Outcome::UnknownServer);
            return;
        };
        if let [key] = msg.keys.as_slice() {
            let lane = self.lane_of(key);
            let part = Part::new(record, Target::AllKeys);
            return self.put(route, lane, part).await;
        }
        let mut lanes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, key) in msg.keys.iter().enumerate() {
            lanes.entry(self.lane_of(key)).or_default().push(place);
        }
        let keys_max = self.config.keys_per_call_max.max(1);
        for (lane, places) in lanes {
            for places in places.chunks(keys_max) {
                let part = Part::new(record, Target::Keys(places.into()));
                self.put(route, lane, part).await;
            }
        }
    }

    async fn deal_to_all(&mut self, record: &Arc<Record>, key: &str, target: Target) {
        if self.routes.is_empty() {
            Part::of_nobody(record).end(Outcome::NoComet);
            return;
        }
        let lane = self.lane_of(key);
        for route in 0..self.routes.len() {
            let part = Part::new(record, target.clone());
            self.put(route, lane, part).await;
        }
    }

    /// Puts a part in a lane, which may take as long as the config says.
    async fn put(&mut self, route: usize, lane: usize, part: Part) {
        let is_only = self.routes.len() == 1;
        let route = &mut self.routes[route];
        let lane = &mut route.lanes[lane];
        let part = match lane.offer(part) {
            Ok(()) => return,
            // Lanes end after us, or all together: this one has panicked.
            Err(Refused::Ended) => return self.now.cancel(),
            Err(Refused::Full(part)) => part,
        };
        let was_stalled = lane.is_stalled();
        // Only other comets are a reason not to wait again.
        if was_stalled && !is_only {
            return part.end(Outcome::LaneFull);
        }
        let deadline = part.record.deadline;
        let until = if is_only {
            deadline
        } else {
            deadline.min(Instant::now() + self.config.lane_wait)
        };
        let refused = tokio::select! {
            refused = lane.offer_until(part, until) => refused,
            // The part goes back to the log.
            () = self.now.cancelled() => None,
        };
        if let Some(part) = refused {
            if !was_stalled {
                warn!(server = route.server, "lane stays full");
            }
            let is_expired = deadline <= Instant::now();
            part.end(if is_expired {
                Outcome::Expired
            } else {
                Outcome::LaneFull
            });
        }
    }

    fn lane_of(&self, key: &str) -> usize {
        partition(key.as_bytes(), self.config.lanes.max(1)) as usize
    }
}
