//! A job: built, spawned, drained.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::{PushLog, Subscription};
use halley_node::{DrainOutcome, Latch, Readiness, Registry, Stage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::comets::Comets;
use crate::consume::Consumer;
use crate::metrics::{Metrics, Outcome};
use crate::routes::Routes;
use crate::{Config, ConfigError};

/// How long a job that has to end at once may still tell the log what it did.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// Why a job cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Pushes to this server could go to either of two comets.
    #[error("two comets are called {0}")]
    DuplicateServer(String),
    /// A key has a value that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Carries pushes from the log to the comets.
#[derive(Debug)]
pub struct Job {
    config: Config,
    log: Arc<dyn PushLog>,
    comets: Comets,
    metrics: Arc<Metrics>,
    latch: Latch,
}

impl Job {
    /// A job that reads nothing yet. The process is ready when it does.
    pub fn build(
        config: Config,
        log: Arc<dyn PushLog>,
        comets: Comets,
        registry: &mut Registry,
        readiness: &Readiness,
    ) -> Result<Self, BuildError> {
        config.check()?;
        let mut servers = HashSet::new();
        for peer in &comets.local {
            if !servers.insert(peer.server.as_str()) {
                return Err(BuildError::DuplicateServer(peer.server.clone()));
            }
        }
        if comets.local.is_empty() && comets.remote.is_none() {
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
    /// would otherwise be lost with the process; what others can deliver, only
    /// for as long as they may wait for it. Told to end at once, it returns to
    /// the log what it has not delivered.
    pub fn spawn(self) -> Stage {
        let drain = CancellationToken::new();
        let now = CancellationToken::new();
        let metrics = Arc::clone(&self.metrics);
        let tracker = TaskTracker::new();
        let mut running = tracker.spawn(self.run(drain.clone(), now.clone()));
        let (draining, ending) = (drain.clone(), now.clone());
        Stage::new("job", drain, now, async move {
            let mut accounted_before = 0;
            tokio::select! {
                () = draining.cancelled() => {
                    accounted_before = metrics.accounted();
                    running.await?;
                }
                ended = &mut running => ended?,
            }
            // What others may deliver was given back, not cut off.
            let forced = if ending.is_cancelled() {
                metrics.count(Outcome::Returned)
            } else {
                0
            };
            Ok(DrainOutcome {
                clean: metrics.accounted() - accounted_before,
                forced,
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
        let Self {
            config,
            comets,
            metrics,
            latch,
            ..
        } = self;
        let workers = TaskTracker::new();
        let end = now.child_token();
        let routes = Routes::start(comets, &config, &metrics, &workers, &end);
        latch.ready();

        let giving_back = give_back(subscription.patience(), &drain, &end);
        let consumer = Consumer::new(config, routes, metrics, drain.clone(), end.clone());
        let delivering = async {
            let mut routes = consumer.run(&mut *subscription).await;
            routes.close();
            workers.close();
            tokio::select! {
                () = workers.wait() => {}
                // What is left may have to go where a comet is only now.
                () = routes.follow() => {}
            }
        };
        tokio::select! {
            () = delivering => {}
            () = giving_back => {}
        }
        let closing = subscription.close();
        let cut_off = async {
            now.cancelled().await;
            tokio::time::sleep(CLOSE_GRACE).await;
        };
        tokio::select! {
            () = closing => {}
            () = cut_off => {}
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
}

/// Ends what is still being delivered when a job that drains has kept it from
/// others for long enough. Never returns.
async fn give_back(patience: Option<Duration>, drain: &CancellationToken, end: &CancellationToken) {
    drain.cancelled().await;
    if let Some(patience) = patience {
        tokio::time::sleep(patience).await;
        end.cancel();
    }
    std::future::pending::<()>().await;
}
