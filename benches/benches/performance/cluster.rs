//! Processes of one role each, over real Kafka and Redis.

use std::path::Path;

use anyhow::Context as _;
use halley_tests::cluster::{Cluster, Node, Options};
use halley_tests::goim::Fleet;

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
    let comets = cluster.comets.iter();
    let comets = comets.map(|comet| (comet.tcp, comet.websocket));
    let pids = cluster.nodes().map(Node::pid).collect::<Option<Vec<_>>>();
    let pids = pids.context("a node has ended")?;
    Ok(Place::new(comets, pids, logic.http))
}

/// The same for goim's nodes.
pub(crate) fn place_of_goim(fleet: &Fleet<'_>) -> anyhow::Result<Place> {
    let logic = fleet.logics.first().context("no logic")?;
    let comets = fleet.comets.iter();
    let comets = comets.map(|comet| (comet.tcp, comet.websocket));
    Ok(Place::new(comets, fleet.pids(), logic.http))
}
