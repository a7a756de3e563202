//! A job: built, spawned, drained.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use halley_backend::push_log::{PushLog, Subscription};
use halley_node::{DrainOutcome, Latch, Readiness, Registry, Stage};
use halley_proto::goim::comet::comet_server::Comet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::Config;
use crate::consume::{Consumer, Route};
use crate::deliver::Courier;
use crate::lane::lane;
use crate::metrics::{Metrics, Outcome};

/// A comet that the job delivers to.
#[derive(Clone)]
pub struct Peer {
    /// Its name, as pushes to keys give it.
    pub server: String,
    /// The comet itself, or a way to it.
    pub comet: Arc<dyn Comet>,
}

/// Why a job cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Pushes to this server could go to either of two comets.
    #[error("two comets are called {0}")]
    DuplicateServer(String),
}

/// Carries pushes from the log to the comets.
#[derive(Debug)]
pub struct Job {
    config: Config,
    log: Arc<dyn PushLog>,
    comets: Vec<Peer>,
    metrics: Arc<Metrics>,
    latch: Latch,
}

impl Job {
    /// A job that reads nothing yet. The process is ready when it does.
    pub fn build(
        config: Config,
        log: Arc<dyn PushLog>,
        comets: Vec<Peer>,
        registry: &mut Registry,
        readiness: &Readiness,
    ) -> Result<Self, BuildError> {
        let mut servers = HashSet::new();
        for peer in &comets {
            if !servers.insert(peer.server.as_str()) {
                return Err(BuildError::DuplicateServer(peer.server.clone()));
            }
        }
        if comets.is_empty() {
            warn!("job knows no comet: every push will be counted as expired or dropped");
        }
        Ok(Self {
            metrics: Arc::new(Metrics::register(registry)),
            latch: readiness.latch("job"),
            config,
            log,
            comets,
        })
    }

    /// Starts to read the log. Drained, the job delivers what it read, and what
    /// would otherwise be lost with the process; told to end at once, it
    /// returns to the log what it has not delivered.
    pub fn spawn(self) -> Stage {
        let drain = CancellationToken::new();
        let now = CancellationToken::new();
        let metrics = Arc::clone(&self.metrics);
        let tracker = TaskTracker::new();
        let mut running = tracker.spawn(self.run(drain.clone(), now.clone()));
        let draining = drain.clone();
        Stage::new("job", drain, now, async move {
            let mut accounted_before = 0;
            tokio::select! {
                () = draining.cancelled() => {
                    accounted_before = metrics.accounted();
                    running.await?;
                }
                ended = &mut running => ended?,
            }
            Ok(DrainOutcome {
                clean: metrics.accounted() - accounted_before,
                forced: metrics.count(Outcome::Returned),
            })
        })
    }

    async fn run(self, drain: CancellationToken, now: CancellationToken) {
        let subscribed = tokio::select! {
            // Drained at once, the job still delivers what is in the log.
            biased;
            subscription = self.subscribe() => Some(subscription),
            () = drain.cancelled() => None,
        };
        let Some(mut subscription) = subscribed else {
            return;
        };
        let lanes = TaskTracker::new();
        let routes = self.start_lanes(&lanes, &now);
        lanes.close();
        let Self {
            config,
            metrics,
            latch,
            ..
        } = self;
        latch.ready();

        let consumer = Consumer::new(config, routes, metrics, drain, now.clone());
        consumer.run(&mut *subscription).await;
        // Their queues have no senders any more.
        lanes.wait().await;
        tokio::select! {
            () = subscription.close() => {}
            () = now.cancelled() => {}
        }
    }

    async fn subscribe(&self) -> Box<dyn Subscription> {
        let mut failures = 0;
        loop {
            match self.log.subscribe().await {
                Ok(subscription) => return subscription,
                Err(error) => {
                    warn!(%error, failures, "no subscription to the push log");
                    failures += 1;
                    tokio::time::sleep(self.config.subscribe_retry.pause(failures)).await;
                }
            }
        }
    }

    fn start_lanes(&self, tracker: &TaskTracker, now: &CancellationToken) -> Vec<Route> {
        let start_route = |peer: &Peer| {
            let courier = Courier {
                server: peer.server.as_str().into(),
                comet: Arc::clone(&peer.comet),
                comets: self.comets.len(),
                call_timeout: self.config.call_timeout,
                retry: self.config.retry,
                metrics: Arc::clone(&self.metrics),
            };
            let start_lane = |_| {
                let (lane, worker) = lane(courier.clone(), &self.config);
                tracker.spawn(worker.run(now.clone()));
                lane
            };
            Route {
                server: peer.server.clone(),
                lanes: (0..self.config.lanes.max(1)).map(start_lane).collect(),
            }
        };
        self.comets.iter().map(start_route).collect()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
