//! A job: built, spawned, drained.

use std::collections::HashSet;
use std::sync::Arc;

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
        let Self {
            config,
            comets,
            metrics,
            latch,
            ..
        } = self;
        let workers = TaskTracker::new();
        let routes = Routes::start(comets, &config, &metrics, &workers, &now);
        latch.ready();

        let consumer = Consumer::new(config, routes, metrics, drain, now.clone());
        let mut routes = consumer.run(&mut *subscription).await;
        routes.close();
        workers.close();
        tokio::select! {
            () = workers.wait() => {}
            // What is left may have to go where a comet is only now.
            () = routes.follow() => {}
        }
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
}
