use std::fmt;
use std::future::Future;
use std::ops::AddAssign;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// A running part of the process that drains on its own, handed to
/// [`run`](crate::run).
pub struct Stage {
    /// How logs and errors call it.
    pub name: &'static str,
    /// Cancelled when the stage is to drain: take nothing new, finish what is
    /// there, then end.
    pub drain: CancellationToken,
    /// Cancelled when the stage is to end at once. `drain` is always cancelled
    /// by then.
    pub now: CancellationToken,
    /// Ends when the stage has ended. Before `drain` is cancelled, that is a
    /// failure of the whole process, also when it is `Ok`.
    pub done: Pin<Box<dyn Future<Output = anyhow::Result<DrainOutcome>> + Send>>,
}

/// How the units of work of a stage (connections, requests, records) ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOutcome {
    /// Came to their end by themselves.
    pub clean: u64,
    /// Were cut off because the deadline or a second signal came first.
    pub forced: u64,
}

impl Stage {
    pub fn new(
        name: &'static str,
        drain: CancellationToken,
        now: CancellationToken,
        done: impl Future<Output = anyhow::Result<DrainOutcome>> + Send + 'static,
    ) -> Self {
        Self {
            name,
            drain,
            now,
            done: Box::pin(done),
        }
    }
}

impl AddAssign for DrainOutcome {
    fn add_assign(&mut self, other: Self) {
        self.clean += other.clean;
        self.forced += other.forced;
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("drain", &self.drain.is_cancelled())
            .field("now", &self.now.is_cancelled())
            .finish_non_exhaustive()
    }
}
