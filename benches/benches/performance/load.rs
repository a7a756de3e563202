//! Figures that the load tool finds.
//!
//! A case is a new server or cluster, a scenario of `halley stress`, and the fields
//! of its report that are shown; `docs/stress.md` has their meaning.

use std::path::Path;

use anyhow::Context as _;
use halley_tests::goim::{Binaries, Engines, Fleet, Mix};
use serde_json::Value;

use crate::cluster::{self, Nodes};
use crate::figure::{Sample, Target};
use crate::scenario::{Place, Scenario, number};
use crate::server::Server;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Scenario and flags of `halley stress`, without addresses.
    pub(crate) stress: &'static str,
    pub(crate) against: Against,
    pub(crate) figures: &'static [Shown],
}

/// What is new for each run of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Against {
    /// All roles in one process.
    Server,
    /// The same, with clients in TLS.
    ServerInTls,
    /// Processes of one role each, Kafka and Redis.
    Cluster(Nodes),
}

/// A field of the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    name: &'static str,
    unit: &'static str,
    /// Where it is in the report.
    pointer: &'static str,
    /// What it is divided by: its name, and where that is.
    over: Option<(&'static str, &'static str)>,
    /// What the report's unit is multiplied by.
    scale: f64,
    target: Option<Target>,
    /// How much it may be of what goim has in the same run.
    of_goim: Option<f64>,
    /// The figure as the tool's rules know it, if there is one about it.
    rule: Option<&'static str>,
}

const fn shown(name: &'static str, unit: &'static str, pointer: &'static str) -> Shown {
    Shown {
        name,
        unit,
        pointer,
        over: None,
        scale: 1.0,
        target: None,
        of_goim: None,
        rule: None,
    }
}

impl Shown {
    const fn over(self, name: &'static str, pointer: &'static str) -> Self {
        Self {
            over: Some((name, pointer)),
            ..self
        }
    }

    const fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    const fn instead_of(self, rule: &'static str) -> Self {
        Self {
            rule: Some(rule),
            ..self
        }
    }

    const fn at_most(self, most: f64) -> Self {
        Self {
            target: Some(Target::AtMost(most)),
            ..self
        }
    }

    const fn at_most_of_goim(self, most: f64) -> Self {
        Self {
            of_goim: Some(most),
            ..self
        }
    }

    const fn at_least(self, least: f64) -> Self {
        Self {
            target: Some(Target::AtLeast(least)),
            ..self
        }
    }
}

const LOST: Shown = shown("lost", "messages", "/deliveries/lost")
    .at_most(0.0)
    .instead_of("loss");
const REORDERED: Shown = shown("out of order", "messages", "/deliveries/reordered")
    .at_most(0.0)
    .instead_of("reordered");
const NOT_CONNECTED: Shown = shown("not connected", "members", "/connections/failures")
    .at_most(0.0)
    .instead_of("connect_failures");
const FAILED: Shown = shown("failed", "pushes", "/pushes/errors")
    .at_most(0.0)
    .instead_of("push_errors");
const DELIVERIES: Shown = shown("deliveries", "/s", "/deliveries/per_second");
const SERVER_CPU: Shown = shown(
    "CPU of the server",
    "s per million deliveries",
    "/server/cpu_seconds_per_million",
);
const P50: Shown = shown("latency p50", "ms", "/deliveries/latency/p50_us").scaled(1e-3);
const P99: Shown = shown("latency p99", "ms", "/deliveries/latency/p99_us").scaled(1e-3);
const MEMORY: Shown = shown(
    "memory of the process",
    "bytes per connection",
    "/server/bytes_per_connection_end",
);
const IDLE: &[Shown] = &[MEMORY.at_most(900.0)];
const IDLE_TLS: &[Shown] = &[MEMORY.at_most(14_336.0)];
const CONNECTS: Shown = shown("logins", "/s", "/churn/per_second");
const CONNECT_CPU: Shown = shown(
    "CPU of the server, the close included",
    "µs per login",
    "/churn/cpu_us_per_connect",
);
const STORM: &[Shown] = &[
    shown("all are back after", "s", "/storms/0/seconds"),
    shown(
        "longest heartbeat of those that stayed",
        "ms",
        "/storms/0/heartbeat_storm/max_us",
    )
    .scaled(1e-3)
    .at_most(1000.0),
    shown("refused handshakes", "tries", "/storms/0/refused").at_most(0.0),
];
const THROUGH_KAFKA: &[Shown] = &[
    NOT_CONNECTED,
    FAILED,
    LOST,
    REORDERED,
    shown("pushes", "/s", "/pushes/per_second"),
    shown(
        "CPU of logic, job and comet",
        "µs per push",
        "/server/cpu_seconds_per_million",
    )
    .at_most(40.0)
    .at_most_of_goim(0.25),
    P50,
    P99,
];

/// Every case. Through Kafka logins are as slow as goim's nodes take them.
pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "room of 5,000, 200 pushes/s of 80 bytes",
        stress: "room -n 5000 --rate 200 --size 80 --duration 8s --connect-rate 5000",
        against: Against::Server,
        figures: &[
            LOST,
            REORDERED,
            DELIVERIES,
            SERVER_CPU.at_most(0.9),
            P50,
            P99.at_most(80.0),
        ],
    },
    Load {
        name: "room of 1,000, 3,000 pushes/s of 80 bytes",
        stress: "room -n 1000 --rate 3000 --size 80 --duration 8s --connect-rate 5000",
        against: Against::Server,
        figures: &[
            LOST,
            REORDERED,
            DELIVERIES,
            SERVER_CPU.at_most(0.35),
            P50,
            P99.at_most(30.0),
        ],
    },
    Load {
        name: "pushes to single users over HTTP, closed loop of 64",
        stress: "push -n 1000 --closed-loop --concurrency 64 --duration 5s --connect-rate 5000",
        against: Against::Server,
        figures: &[
            LOST,
            REORDERED,
            shown("pushes", "/s", "/pushes/per_second").at_least(40_000.0),
            shown(
                "CPU of the server",
                "µs per push",
                "/server/cpu_seconds_per_million",
            )
            .at_most(20.0),
            P50,
            P99,
        ],
    },
    Load {
        name: "pushes to single users in batches of 200, closed loop of 8",
        stress: "push -n 1000 --closed-loop --batch 200 --concurrency 8 --duration 5s --connect-rate 5000",
        against: Against::Server,
        figures: &[
            LOST,
            REORDERED,
            shown("pushes", "/s", "/pushes/per_second").at_least(200_000.0),
            shown(
                "CPU of the server",
                "µs per push",
                "/server/cpu_seconds_per_million",
            ),
            P50,
            P99,
        ],
    },
    Load {
        name: "15,000 idle connections, TCP",
        stress: "idle -n 15000 --rate 5000 --duration 12s --transport tcp",
        against: Against::Server,
        figures: IDLE,
    },
    Load {
        name: "15,000 idle connections, WebSocket",
        stress: "idle -n 15000 --rate 5000 --duration 12s --transport ws",
        against: Against::Server,
        figures: IDLE,
    },
    Load {
        name: "15,000 idle connections, TCP in TLS",
        stress: "idle -n 15000 --rate 3000 --duration 12s --transport tcp",
        against: Against::ServerInTls,
        figures: IDLE_TLS,
    },
    Load {
        name: "15,000 idle connections, WebSocket in TLS",
        stress: "idle -n 15000 --rate 3000 --duration 12s --transport ws",
        against: Against::ServerInTls,
        figures: IDLE_TLS,
    },
    Load {
        name: "1,000 messages to a room of 15,000",
        stress: "room -n 15000 --rate 100 --size 80 --duration 10s --calm 12s --connect-rate 5000",
        against: Against::Server,
        figures: &[
            LOST,
            shown("memory of the process", "× before them", MEMORY.pointer)
                .over("bytes before them", "/server/bytes_per_connection")
                .at_most(1.1),
        ],
    },
    Load {
        name: "new connections in 128 lanes, TCP",
        stress: "storm --churn -n 100 --concurrency 128 --duration 5s --transport tcp",
        against: Against::Server,
        figures: &[CONNECTS.at_least(20_000.0), CONNECT_CPU.at_most(30.0)],
    },
    Load {
        name: "new connections in 128 lanes, WebSocket",
        stress: "storm --churn -n 100 --concurrency 128 --duration 5s --transport ws",
        against: Against::Server,
        figures: &[CONNECTS.at_least(17_000.0), CONNECT_CPU.at_most(35.0)],
    },
    Load {
        name: "nine of ten of 16,600 connections are dropped and come back at once",
        stress: "storm -n 16600 --share 0.9 --storms 1 --retry 500ms --connect-rate 5000 --transport mixed",
        against: Against::Server,
        figures: STORM,
    },
    Load {
        name: "through Kafka, a room of 1,000, 10 pushes/s",
        stress: "room -n 1000 --rate 10 --duration 10s --connect-rate 200",
        against: Against::Cluster(Nodes::OF_MAKE_CLUSTER),
        figures: &[
            NOT_CONNECTED,
            FAILED,
            LOST,
            REORDERED,
            P50.at_most(8.0),
            P99.at_most(30.0),
        ],
    },
    Load {
        name: "through Kafka, pushes to single users, closed loop of 64",
        stress: "push -n 1000 --closed-loop --concurrency 64 --duration 8s --connect-rate 200",
        against: Against::Cluster(Nodes::ONE_OF_EACH),
        figures: THROUGH_KAFKA,
    },
    Load {
        name: "through Kafka, pushes to single users, closed loop of 256",
        stress: "push -n 1000 --closed-loop --concurrency 256 --duration 8s --connect-rate 200",
        against: Against::Cluster(Nodes::ONE_OF_EACH),
        figures: THROUGH_KAFKA,
    },
];

impl Load {
    /// What Halley's figures are, and goim's beside them if it can do the same.
    pub(crate) async fn run(
        &self,
        halley: &Path,
        goim: Option<&Path>,
    ) -> anyhow::Result<Vec<Sample>> {
        let ours = match self.against {
            Against::Server => {
                let server = Server::start(halley).await?;
                self.report(halley, &server.place()?).await?
            }
            Against::ServerInTls => {
                let server = Server::start(halley).await?;
                self.report(halley, &server.place_in_tls()?).await?
            }
            Against::Cluster(nodes) => {
                let cluster = nodes.start(halley).await?;
                let place = cluster::place(&cluster)?;
                // The broker compiles its code while it is used.
                self.report(halley, &place).await?;
                self.report(halley, &place).await?
            }
        };
        let mut samples = self.samples(&ours, self.name)?;
        if let (Some(goim), Against::Cluster(_)) = (goim, self.against) {
            let theirs = self.report_of_goim(halley, goim).await?;
            let samples_of_goim = self.samples(&theirs, &format!("goim, {}", self.name))?;
            samples.extend(samples_of_goim.into_iter().map(Sample::without_target));
            samples.extend(self.over_goim(&ours, &theirs)?);
        }
        Ok(samples)
    }

    /// The same with one node of each role of goim's.
    async fn report_of_goim(&self, halley: &Path, goim: &Path) -> anyhow::Result<Value> {
        let binaries = Binaries {
            halley: halley.to_owned(),
            // Its processes are started in a folder of their own.
            goim: goim.canonicalize().context("find goim")?,
        };
        let engines = Engines::start()?;
        let fleet = Fleet::start(Mix::GOIM, &binaries, &engines).await?;
        let place = cluster::place_of_goim(&fleet)?;
        // It may lose what comes before its nodes know each other.
        let _ = self.report(halley, &place).await;
        self.report(halley, &place).await
    }

    fn samples(&self, report: &Value, name: &str) -> anyhow::Result<Vec<Sample>> {
        let samples = self.figures.iter().map(|shown| {
            let mut value = number(report, shown.pointer)? * shown.scale;
            let mut beside = Vec::new();
            if let Some((name, pointer)) = shown.over {
                let over = number(report, pointer)?;
                value /= over;
                beside.push((name, over));
            }
            Ok(Sample {
                figure: format!("{name}: {}", shown.name),
                unit: shown.unit,
                value,
                target: shown.target,
                beside,
            })
        });
        samples.collect()
    }

    fn over_goim(&self, ours: &Value, theirs: &Value) -> anyhow::Result<Vec<Sample>> {
        let compared = self.figures.iter().filter_map(|shown| {
            let most = shown.of_goim?;
            Some((shown, most))
        });
        let samples = compared.map(|(shown, most)| {
            Ok(Sample {
                figure: format!("{}: {} over goim's", self.name, shown.name),
                unit: "×",
                value: number(ours, shown.pointer)? / number(theirs, shown.pointer)?,
                target: Some(Target::AtMost(most)),
                beside: Vec::new(),
            })
        });
        samples.collect()
    }

    async fn report(&self, halley: &Path, place: &Place) -> anyhow::Result<Value> {
        let rules = self.figures.iter().filter_map(|shown| shown.rule);
        let shown: Vec<&str> = rules.collect();
        let scenario = Scenario::start(halley, place, self.stress, &shown)?;
        scenario.report().await
    }
}
