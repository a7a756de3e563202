//! Processes of one role each, over real Kafka and Redis.

use std::path::Path;

use anyhow::Context as _;
use halley_tests::cluster::{Cluster, Options};

use crate::scenario::Place;

/// How many processes of each role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nodes {
    logics: usize,
    jobs: usize,
    comets: usize,
}

impl Nodes {
    pub(crate) const OF_MAKE_CLUSTER: Self = Self {
        logics: 2,
        jobs: 2,
        comets: 3,
    };
    pub(crate) const ONE_OF_EACH: Self = Self {
        logics: 1,
        jobs: 1,
        comets: 1,
    };

    /// Ends with the value.
    pub(crate) async fn start(self, halley: &Path) -> anyhow::Result<Cluster> {
        let options = Options {
            logics: self.logics,
            jobs: self.jobs,
            comets: self.comets,
            // As in `make cluster`, and for its reason: they all share a few cores.
            config: "[runtime]\nworker_threads = 1\n".to_owned(),
            ..Options::new(halley.to_owned())
        };
        Cluster::start(&options).await.context("start a cluster")
    }
}

/// For scenarios: clients connect to all comets in turn.
pub(crate) fn place(cluster: &Cluster) -> anyhow::Result<Place> {
    let logic = cluster.logics.first().context("no logic")?;
    let mut flags = Vec::new();
    for comet in &cluster.comets {
        flags.push(format!("--tcp=tcp://{}", comet.tcp));
        flags.push(format!("--ws=ws://{}/sub", comet.websocket));
    }
    for node in cluster.nodes() {
        let pid = node.pid().context("a node has ended")?;
        flags.push(format!("--server-pid={pid}"));
    }
    Ok(Place {
        flags,
        http: logic.http,
    })
}
