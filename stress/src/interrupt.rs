//! What ends a run early: Ctrl-C, or its limit. It still reports. A second Ctrl-C ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a shell reports for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Whether a run is to end early.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    /// Cancelled by the first interrupt, or when the limit is over.
    pub(crate) token: CancellationToken,
    limit: Duration,
    overdue: Arc<AtomicBool>,
}

impl Interrupt {
    pub(crate) fn watch(limit: Duration, tracker: &TaskTracker) -> Self {
        let interrupt = Self {
            token: CancellationToken::new(),
            limit,
            overdue: Arc::default(),
        };
        let token = interrupt.token.clone();
        tracker.spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                token.cancel();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                // Workers end when their input does.
                std::process::exit(INTERRUPTED);
            }
        });
        let (token, overdue) = (interrupt.token.clone(), Arc::clone(&interrupt.overdue));
        tracker.spawn(async move {
            tokio::time::sleep(limit).await;
            overdue.store(true, Ordering::Relaxed);
            token.cancel();
        });
        interrupt
    }

    /// The limit, if it is over.
    pub(crate) fn overdue_after(&self) -> Option<Duration> {
        self.overdue.load(Ordering::Relaxed).then_some(self.limit)
    }
}
