//! Sends pushes through logic's HTTP API, on schedule, and keeps the books.

mod course;
mod lane;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::course::Course;
pub(crate) use self::course::{Pace, Pick, Pushed};
use self::lane::Lane;

/// Where and how to push.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For the Host header.
    pub(crate) authority: String,
    /// In front of every path, without a slash at its end.
    pub(crate) base_path: String,
    /// Sent as a bearer token when given.
    pub(crate) push_key: Option<String>,
    /// Deadline of one push, connecting included.
    pub(crate) timeout: Duration,
}

/// What to push.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) run: u64,
    pub(crate) size_bytes: usize,
    /// Where a push goes, per stream: path and query, or with `batch` the beginning of a message of
    /// [`BATCH_PATH`] up to the body.
    pub(crate) paths: Vec<String>,
    /// The number of the first of these streams.
    pub(crate) first_stream: u32,
    pub(crate) pick: Pick,
    /// Whether receivers come and go, so that they need to know when each push was sent.
    pub(crate) timed: bool,
    pub(crate) pace: Pace,
    /// Connections, each with one push at a time, or with one batch.
    pub(crate) lanes: usize,
    /// Pushes per request, in Halley's own call for many of them.
    pub(crate) batch: Option<NonZero<u16>>,
}

/// Where batches go.
pub(crate) const BATCH_PATH: &str = "/v1/push";

impl Load {
    /// Pushes of the schedule; `None` in a closed loop.
    pub(crate) fn total(&self) -> Option<u64> {
        match self.pace {
            Pace::Open { total, .. } => Some(total),
            Pace::Closed { .. } => None,
        }
    }
}

/// Pushes until the pace is over or `stopped`, and returns when every push has ended.
///
/// `on_sent` is called after each push.
pub(crate) async fn push(
    target: Target,
    load: Load,
    stopped: CancellationToken,
    on_sent: impl Fn() + Send + Sync + 'static,
) -> io::Result<Pushed> {
    let lanes = load.lanes.max(1);
    let is_batched = load.batch.is_some();
    let batch = load.batch.map_or(1, NonZero::get).into();
    let course = Arc::new(Course::new(load, stopped)?);
    let (target, on_sent) = (Arc::new(target), Arc::new(on_sent));
    let tracker = TaskTracker::new();
    for _ in 0..lanes {
        let mut lane = Lane::new(Arc::clone(&target), tracker.clone());
        let (course, on_sent) = (Arc::clone(&course), Arc::clone(&on_sent));
        tracker.spawn(async move {
            while let Some(turns) = course.next_turns(batch).await {
                let started: Vec<_> = turns.iter().map(|turn| course.start(turn)).collect();
                let answers = if is_batched {
                    lane.post_batch(&started).await
                } else {
                    lane.post_each(&started).await
                };
                let mut pause = None;
                for ((turn, started), answer) in turns.iter().zip(&started).zip(answers) {
                    let rest = course.finish(turn, started.seq, started.at_ns, answer);
                    pause = pause.max(rest);
                    on_sent();
                }
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    tracker.close();
    tracker.wait().await;
    Ok(course.finished())
}

/// How pushes ended, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) accepted: u64,
    /// By HTTP status.
    pub(crate) refused: BTreeMap<String, u64>,
    /// By cause.
    pub(crate) errors: BTreeMap<String, u64>,
}
