//! Ctrl-C ends a run early; it still reports. A second one ends the process.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a shell reports for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// A token that the first interrupt cancels.
pub(crate) fn watch(tracker: &TaskTracker) -> CancellationToken {
    let interrupted = CancellationToken::new();
    let token = interrupted.clone();
    tracker.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            // Workers end when their input does.
            std::process::exit(INTERRUPTED);
        }
    });
    interrupted
}
