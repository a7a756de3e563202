//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is yes; an error, from the question or because
/// `deadline` has gone by, ends it.
pub(crate) fn until(
    what: &str,
    deadline: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > deadline {
            bail!("{what}: not within {deadline:?}");
        }
        pause();
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process cannot be waited for but by asking again"
)]
fn pause() {
    std::thread::sleep(POLL_INTERVAL);
}
