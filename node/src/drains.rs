use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::DrainOutcome;

/// Has the process drain, as a signal does, and tells how that went.
///
/// Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Drains(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: CancellationToken,
    outcome: watch::Sender<Option<DrainOutcome>>,
}

impl Drains {
    /// Has the process drain, if it does not yet, and waits until every stage
    /// but the last has: that one is left for those who wait here.
    pub async fn drain(&self) -> DrainOutcome {
        self.0.asked.cancel();
        let mut outcome = self.0.outcome.subscribe();
        let told = outcome.wait_for(Option::is_some).await;
        told.expect("invariant: the sender lives as long as self")
            .expect("invariant: it was waited for")
    }

    /// Waits until somebody wants the process to drain.
    pub(crate) async fn asked(&self) {
        self.0.asked.cancelled().await;
    }

    pub(crate) fn tell(&self, outcome: DrainOutcome) {
        self.0.outcome.send_replace(Some(outcome));
    }
}
