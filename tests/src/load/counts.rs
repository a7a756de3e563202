//! What the system itself counts as not delivered, summed over processes that
//! come and go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::metrics::Samples;

/// Time between two readings: what a killed process counted since the last one
/// is not known.
const READ_AGAIN: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A count: the metric and the labels that it must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// As the report calls it.
    pub(super) name: &'static str,
    metric: &'static str,
    labels: &'static [&'static str],
    /// Whether that is the end of a push whose receiver has a connection.
    pub(super) explains: bool,
}

/// What is not delivered, and why.
pub(super) const WATCHED: &[Watched] = &[
    Watched {
        name: "expired",
        metric: "halley_job_push_outcomes_total",
        labels: &["outcome=\"expired\""],
        explains: true,
    },
    Watched {
        name: "dropped by job",
        metric: "halley_job_push_outcomes_total",
        labels: &["outcome=\"dropped\""],
        explains: true,
    },
    Watched {
        name: "slow consumers at comet",
        metric: "halley_comet_push_outcomes_total",
        labels: &["reason=\"slow_consumer\""],
        explains: true,
    },
    Watched {
        name: "full outboxes at comet",
        metric: "halley_comet_push_outcomes_total",
        labels: &["reason=\"outbox_full\""],
        explains: true,
    },
    Watched {
        name: "dropped at comet",
        metric: "halley_comet_push_outcomes_total",
        labels: &["outcome=\"dropped\""],
        explains: false,
    },
    Watched {
        name: "offline at comet",
        metric: "halley_comet_push_outcomes_total",
        labels: &["outcome=\"offline\""],
        explains: false,
    },
];

/// Readings of the processes of a cluster, summed up.
#[derive(Debug)]
pub struct Counts {
    sums: Arc<Mutex<HashMap<SocketAddr, Seen>>>,
    _stop: DropGuard,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// At the first reading. What one that could not be read before had counted
    /// is not known, and explains nothing.
    before: Vec<u64>,
    last: Vec<u64>,
    /// From the ends of earlier processes on this address.
    earlier: Vec<u64>,
}

impl Counts {
    /// Reads the processes at these addresses from now on.
    pub async fn watch(nodes: Vec<SocketAddr>) -> Self {
        let sums = Arc::new(Mutex::new(HashMap::new()));
        let stop = CancellationToken::new();
        for &node in &nodes {
            read(node, &sums).await;
        }
        let reading = {
            let (sums, stop) = (Arc::clone(&sums), stop.clone());
            async move {
                while !stop.is_cancelled() {
                    for &node in &nodes {
                        read(node, &sums).await;
                    }
                    sleep(READ_AGAIN).await;
                }
            }
        };
        TaskTracker::new().spawn(reading);
        Self {
            sums,
            _stop: stop.drop_guard(),
        }
    }

    /// What was counted since the beginning, in the order of [`WATCHED`].
    pub(super) fn totals(&self) -> Vec<u64> {
        let mut totals = vec![0; WATCHED.len()];
        for seen in self.sums.lock().values() {
            for (index, total) in totals.iter_mut().enumerate() {
                let all = seen.earlier[index] + seen.last[index];
                *total += all.saturating_sub(seen.before[index]);
            }
        }
        totals
    }
}

async fn read(node: SocketAddr, sums: &Mutex<HashMap<SocketAddr, Seen>>) {
    let request = reqwest::Client::new()
        .get(format!("http://{node}/metrics"))
        .timeout(ANSWER_MAX);
    let Ok(response) = request.send().await else {
        return;
    };
    let Ok(text) = response.text().await else {
        return;
    };
    let samples = Samples::parse(&text);
    let now: Vec<_> = WATCHED
        .iter()
        .map(|watched| samples.sum(watched.metric, watched.labels))
        .collect();
    let mut sums = sums.lock();
    let seen = sums.entry(node).or_insert_with(|| Seen {
        before: now.clone(),
        last: vec![0; WATCHED.len()],
        earlier: vec![0; WATCHED.len()],
    });
    // A count that went back is another process's.
    if now.iter().zip(&seen.last).any(|(now, last)| now < last) {
        for (earlier, last) in seen.earlier.iter_mut().zip(&seen.last) {
            *earlier += last;
        }
    }
    seen.last = now;
}
