//! The progress bar: on a terminal's standard error only.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};

use crate::messages::Progress;

const REDRAW: Duration = Duration::from_millis(250);

/// Shows a phase while `work` runs. `describe` says how far it is (out of `total`) and what else there is to say.
pub(crate) async fn show<T>(
    title: &'static str,
    total: u64,
    describe: impl Fn() -> (u64, String),
    work: impl Future<Output = T>,
) -> T {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{prefix:>8} [{bar:32}] {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(title);
    tokio::pin!(work);
    let mut redraw = tokio::time::interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = redraw.tick() => {
                let (position, message) = describe();
                bar.set_position(position.min(total));
                bar.set_message(Cow::Owned(message));
            }
        }
    };
    bar.finish_and_clear();
    done
}

/// Seconds since a moment, for bars that count time.
pub(crate) fn seconds_since(start: Instant) -> u64 {
    start.elapsed().as_secs()
}

/// The receiving side in words.
pub(crate) fn words(progress: Progress) -> String {
    let Progress {
        ready: _,
        open,
        failed,
        received,
        churned,
    } = progress;
    let counts = [
        (open, "connected"),
        (failed, "failed"),
        (received, "received"),
        (churned, "logged in and out"),
    ];
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    words.join(", ")
}
