//! Who there is to deliver to: the comets of this process, and those that the
//! registry knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use halley_backend::registry::Snapshot;
use halley_proto::halley::node::NodeStatus;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::Config;
use crate::comets::{Comets, Dial, Peer};
use crate::deliver::Courier;
use crate::lane::Lanes;
use crate::link::{Link, Shared, Target};
use crate::metrics::{Metrics, Outcome};
use crate::queue::{Bounds, Patience, Queue};
use crate::record::{Part, Record, Target as PartTarget};

pub(crate) struct Routes {
    list: Vec<Route>,
    by_server: HashMap<Arc<str>, usize>,
    remote: Option<Remote>,
    /// Comets that share a broadcast's pace.
    live: Arc<AtomicUsize>,
    config: Config,
    metrics: Arc<Metrics>,
    unsettled_until: Option<Instant>,
    is_closed: bool,
}

struct Remote {
    nodes: watch::Receiver<Snapshot>,
    shared: Arc<Shared>,
}

/// One comet.
struct Route {
    server: Arc<str>,
    way: Way,
    presence: Presence,
}

enum Way {
    Local(Lanes),
    Remote(Link),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here {
        is_draining: bool,
    },
    /// The registry does not list it any more. Until then it is delivered to
    /// nevertheless, and longer if its stream proves that it is there.
    Missing {
        until: Instant,
    },
    /// It only gets, or not, what it was dealt.
    Gone,
}

/// Where a part is to be put.
pub(crate) struct Dealt {
    pub(crate) queue: Arc<Queue>,
    pub(crate) part: Part,
    pub(crate) patience: Patience,
}

impl Routes {
    /// Starts the tasks that deliver. They end with `now`, which returns what
    /// they have to the log, or when the routes are closed and everything is
    /// delivered.
    pub(crate) fn start(
        comets: Comets,
        config: &Config,
        metrics: &Arc<Metrics>,
        tracker: &TaskTracker,
        now: &CancellationToken,
    ) -> Self {
        let live = Arc::new(AtomicUsize::new(comets.local.len()));
        let start_local = |peer: Peer| {
            let server: Arc<str> = peer.server.into();
            let courier = Courier {
                server: Arc::clone(&server),
                comet: peer.comet,
                comets: Arc::clone(&live),
                call_timeout: config.call_timeout,
                retry: config.retry,
                metrics: Arc::clone(metrics),
                failing: Arc::new(Notify::new()),
            };
            // In this process memory is bounded by the log, and nothing hangs.
            let bounds = Bounds {
                parts_max: config.lane_parts_max,
                bytes_max: usize::MAX,
            };
            let keys_max = config.keys_per_call_max;
            let lanes = Lanes::start(&courier, bounds, keys_max, config, tracker, now);
            Route {
                server,
                way: Way::Local(lanes),
                presence: Presence::Here { is_draining: false },
            }
        };
        let list = comets.local.into_iter().map(start_local).collect();
        let start_remote = |nodes, dial: Dial| Remote {
            nodes,
            shared: Arc::new(Shared {
                config: config.clone(),
                dial,
                metrics: Arc::clone(metrics),
                comets: Arc::clone(&live),
                tracker: tracker.clone(),
                now: now.clone(),
            }),
        };
        let remote = comets
            .remote
            .map(|remote| start_remote(remote.nodes, remote.dial));
        let mut this = Self {
            list,
            by_server: HashMap::new(),
            remote,
            live,
            config: config.clone(),
            metrics: Arc::clone(metrics),
            unsettled_until: None,
            is_closed: false,
        };
        this.refresh();
        this
    }

    /// Whether it is known which comets there are.
    pub(crate) fn are_known(&self) -> bool {
        let remote = self.remote.as_ref();
        remote.is_none_or(|remote| remote.nodes.borrow().is_some())
    }

    /// Whether the registry may yet name a comet that is not known.
    pub(crate) fn may_grow(&self) -> bool {
        self.remote.is_some()
    }

    /// Returns when the registry has news, to be taken in.
    pub(crate) async fn changed(&mut self) {
        let changed = match &mut self.remote {
            Some(remote) => remote.nodes.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // There will be none.
            std::future::pending::<()>().await;
        }
    }

    /// Tells the comets that are known where they are now. Who is known stays
    /// as it is.
    pub(crate) fn aim(&mut self) {
        for node in self.nodes() {
            if let Some(&index) = self.by_server.get(node.hostname.as_str())
                && let Way::Remote(link) = &self.list[index].way
            {
                link.aim(target(&node));
            }
        }
    }

    /// Whether the registry names a comet that is not delivered to yet.
    pub(crate) fn has_newcomer(&self) -> bool {
        let nodes = self.nodes();
        nodes
            .iter()
            .any(|node| self.route_to(&node.hostname).is_none())
    }

    /// Takes in which comets there are now.
    pub(crate) fn refresh(&mut self) {
        let Some(remote) = &mut self.remote else {
            return self.index();
        };
        let shared = Arc::clone(&remote.shared);
        if remote.nodes.borrow_and_update().is_none() {
            return self.index();
        }
        let nodes = self.nodes();
        let now = Instant::now();
        for route in &mut self.list {
            let is_listed = nodes.iter().any(|node| *node.hostname == *route.server);
            if !is_listed && let Way::Remote(_) = route.way {
                route.miss(now, &self.config);
            }
        }
        self.settle(now);
        if !self.is_closed {
            for node in &nodes {
                self.welcome(node, &shared);
            }
        }
        self.aim();
        self.index();
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let snapshot = self
            .remote
            .as_ref()
            .map(|remote| remote.nodes.borrow().clone());
        let nodes = snapshot.flatten().unwrap_or_default();
        let mut nodes: Vec<_> = nodes
            .iter()
            .filter(|node| !node.hostname.is_empty() && !node.grpc.is_empty())
            .cloned()
            .collect();
        // Of several that have one name, the newest run.
        nodes.sort_by_key(|node| node.started_ms);
        nodes
    }

    /// Makes a node of the registry a comet to deliver to.
    fn welcome(&mut self, node: &NodeStatus, shared: &Arc<Shared>) {
        let is_draining = node.draining;
        let known = self.by_server.get(node.hostname.as_str()).copied();
        if let Some(route) = known.map(|index| &mut self.list[index]) {
            let is_usable = match &route.way {
                Way::Local(_) => return,
                Way::Remote(link) => route.presence != Presence::Gone || link.reopen(),
            };
            if is_usable {
                route.presence = Presence::Here { is_draining };
                return;
            }
        }
        info!(server = node.hostname, address = node.grpc, "new comet");
        let server: Arc<str> = node.hostname.as_str().into();
        let route = Route {
            way: Way::Remote(Link::start(&server, target(node), shared)),
            server: Arc::clone(&server),
            presence: Presence::Here { is_draining },
        };
        if let Some(index) = known {
            self.list[index] = route;
        } else {
            self.by_server.insert(server, self.list.len());
            self.list.push(route);
        }
    }

    /// When [`settle`](Self::settle) has something to do.
    pub(crate) fn unsettled_until(&self) -> Option<Instant> {
        self.unsettled_until
    }

    /// Gives up comets that have been missing for too long, and forgets those
    /// whose last part has ended.
    pub(crate) fn settle(&mut self, now: Instant) {
        for route in &mut self.list {
            route.settle(now, &self.config);
        }
        let metrics = &self.metrics;
        self.list.retain(|route| {
            let Way::Remote(link) = &route.way else {
                return true;
            };
            let is_over = route.presence == Presence::Gone && link.has_ended();
            if is_over {
                metrics.forget(&route.server);
            }
            !is_over
        });
        self.index();
    }

    /// Keeps what follows from the routes.
    fn index(&mut self) {
        let servers = self.list.iter().map(|route| Arc::clone(&route.server));
        self.by_server = servers.zip(0..).collect();
        let live = self.live_routes().count();
        self.live.store(live, Ordering::Relaxed);
        let until = self.list.iter().filter_map(|route| match route.presence {
            Presence::Missing { until } => Some(until),
            Presence::Here { .. } | Presence::Gone => None,
        });
        self.unsettled_until = until.min();
    }

    fn live_routes(&self) -> impl Iterator<Item = &Route> {
        let is_live = |route: &&Route| route.presence != Presence::Gone;
        self.list.iter().filter(is_live)
    }

    fn route_to(&self, server: &str) -> Option<&Route> {
        let route = &self.list[*self.by_server.get(server)?];
        (route.presence != Presence::Gone).then_some(route)
    }

    /// Deals a part for keys to their server; it comes back if that is unknown.
    pub(crate) fn deal_keys(&self, part: Part, dealt: &mut Vec<Dealt>) -> Result<(), Part> {
        match self.route_to(&part.record.msg.server) {
            Some(route) => {
                self.deal(route, part, dealt);
                Ok(())
            }
            None => Err(part),
        }
    }

    /// Deals a message for a room, or for everyone, to all comets that must get it.
    pub(crate) fn deal_to_all(
        &self,
        record: &Arc<Record>,
        target: &PartTarget,
        dealt: &mut Vec<Dealt>,
    ) {
        let now = Instant::now();
        let room = &record.msg.room;
        let mut outcome = Some(Outcome::NoComet);
        for route in self.live_routes() {
            let is_spared = match &route.way {
                Way::Local(_) => false,
                Way::Remote(link) => *target == PartTarget::Room && !link.holds(room, now),
            };
            if is_spared {
                outcome = outcome.and(Some(Outcome::NoMember));
                continue;
            }
            outcome = None;
            self.deal(route, Part::new(record, target.clone()), dealt);
        }
        if let Some(outcome) = outcome {
            debug!(?outcome, "nobody to deliver to");
            Part::of_nobody(record).end(outcome);
        }
    }

    fn deal(&self, route: &Route, part: Part, dealt: &mut Vec<Dealt>) {
        let patience = match &route.way {
            // Rooms and keys, which have other lanes, would wait with it.
            Way::Local(_) if part.target == PartTarget::Everyone => {
                Patience::UpTo(self.config.queue_wait)
            }
            // Else only other comets are a reason not to wait.
            _ if self.live.load(Ordering::Relaxed) == 1 => Patience::UntilDeadline,
            Way::Remote(link) if link.is_away() => Patience::None,
            Way::Local(_) | Way::Remote(_) => Patience::UpTo(self.config.queue_wait),
        };
        let mut give = |queue: &Arc<Queue>, part| {
            let queue = Arc::clone(queue);
            dealt.push(Dealt {
                queue,
                part,
                patience,
            });
        };
        match &route.way {
            Way::Local(lanes) => lanes.deal(part, give),
            Way::Remote(link) => give(link.queue(), part),
        }
    }

    /// No part is going to be dealt.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for route in &self.list {
            match &route.way {
                Way::Local(lanes) => lanes.close(),
                Way::Remote(link) => link.close(),
            }
        }
    }

    /// Tells the comets where they are, for ever.
    pub(crate) async fn follow(&mut self) {
        loop {
            self.changed().await;
            self.refresh();
        }
    }
}

impl Route {
    fn miss(&mut self, now: Instant, config: &Config) {
        self.presence = match self.presence {
            // It said that it would go.
            Presence::Here { is_draining: true } => Presence::Missing { until: now },
            Presence::Here { is_draining: false } => Presence::Missing {
                until: now + config.absent_grace,
            },
            missing @ (Presence::Missing { .. } | Presence::Gone) => missing,
        };
    }

    fn settle(&mut self, now: Instant, config: &Config) {
        let (Presence::Missing { until }, Way::Remote(link)) = (self.presence, &self.way) else {
            return;
        };
        if now < until {
            return;
        }
        if link.is_streaming() {
            // Looked at again as often as a stream is opened again.
            self.presence = Presence::Missing {
                until: now + config.reconnect.max,
            };
            return;
        }
        info!(server = %self.server, "comet is gone");
        link.give_up();
        self.presence = Presence::Gone;
    }
}

fn target(node: &NodeStatus) -> Target {
    Target {
        address: node.grpc.clone(),
        started_ms: node.started_ms,
    }
}
