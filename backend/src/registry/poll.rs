//! Asking a registry again and again, once for all who watch a role.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::roster::{Answer, Roster};
use super::{Role, Snapshot};
use crate::backoff::Backoff;

/// A registry that can be asked for the nodes of a role.
pub(super) trait Source: Send + 'static {
    /// Why an attempt failed.
    type Error: std::fmt::Display + Send;

    /// Asks once, within a deadline of its own, and returns by `wake` if the
    /// answer may take longer. `None`: nothing has changed.
    fn ask(
        &mut self,
        wake: Option<Instant>,
    ) -> impl Future<Output = Result<Option<Answer>, Self::Error>> + Send;
}

/// How a source is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From an answer to the next question.
    pub(super) interval: Duration,
    /// From a failure to the next attempt.
    pub(super) backoff: Backoff,
    /// How long a node stays that the registry may have lost.
    pub(super) grace: Duration,
}

/// The watched roles of a registry. Dropped, it asks no more.
#[derive(Debug, Default)]
pub(super) struct Watches {
    stop: CancellationToken,
    roles: Mutex<Vec<(Role, watch::Receiver<Snapshot>)>>,
}

impl Watches {
    /// The nodes of `role`, asked for by what `source` makes, unless they are
    /// already.
    pub(super) fn watch<S: Source>(
        &self,
        role: Role,
        pace: Pace,
        source: impl FnOnce() -> S,
    ) -> watch::Receiver<Snapshot> {
        let mut roles = self.roles.lock();
        if let Some((_, watch)) = roles.iter().find(|(watched, _)| *watched == role) {
            return watch.clone();
        }
        let roster = Roster::new(role, pace.grace);
        let watch = roster.watch();
        let stop = self.stop.clone();
        let source = source();
        TaskTracker::new().spawn(async move {
            tokio::select! {
                () = poll(source, roster, role, pace) => {}
                () = stop.cancelled() => {}
            }
        });
        roles.push((role, watch.clone()));
        watch
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn poll<S: Source>(mut source: S, mut roster: Roster, role: Role, pace: Pace) {
    let role = role.as_str();
    let mut failures = 0_u32;
    loop {
        let pause = match source.ask(roster.next_end()).await {
            Ok(answer) => {
                if failures > 0 {
                    tracing::info!(role, failures, "registry answers again");
                }
                failures = 0;
                roster.answered(answer);
                pace.interval
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(role, %error, "registry cannot be asked, known nodes stay");
                } else {
                    tracing::debug!(role, %error, failures, "registry still cannot be asked");
                }
                failures = failures.saturating_add(1);
                roster.unanswered();
                pace.backoff.pause(failures)
            }
        };
        tokio::time::sleep(pause).await;
    }
}
