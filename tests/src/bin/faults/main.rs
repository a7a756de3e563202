//! `make faults`: kills, stops and cuts off parts of a cluster under load, and
//! prints for each fault what became of every push.
//!
//! Everything runs in a network namespace of its own, so that cutting a
//! connection cuts nobody else's. Exits with 1 when a push is unaccounted for
//! or came out of order, or a user who is connected is taken for offline.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for people at a terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use halley_engines::{Kafka, KafkaVersion, Redis};
use halley_tests::cluster::{Cluster, Options};

use self::scenario::{Run, Scenario};

mod namespace;
mod scenario;
mod table;

/// Longest time for all faults together, in minutes.
const MINUTES_MAX: u64 = 15;

const USAGE: &str = "usage: faults HALLEY [SCENARIO…]";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let halley = PathBuf::from(args.next().context(USAGE)?);
    ensure!(halley.is_file(), "{} is no binary", halley.display());
    let only: Vec<String> = args.collect();
    let scenarios = chosen(&only)?;
    if !namespace::is_own() {
        // Where nothing can be fetched it is too late to look for engines.
        Kafka::prepare(KafkaVersion::default()).context("get kafka")?;
        Redis::prepare().context("get redis")?;
        return namespace::run_again();
    }
    namespace::raise_loopback()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(halley, scenarios))
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<Scenario>> {
    for name in only {
        if !Scenario::ALL.iter().any(|scenario| scenario.name() == name) {
            let names = Scenario::ALL.map(Scenario::name);
            bail!("no fault is called {name}; there are {}", names.join(", "));
        }
    }
    let is_chosen =
        |scenario: &Scenario| only.is_empty() || only.iter().any(|name| name == scenario.name());
    Ok(Scenario::ALL.into_iter().filter(is_chosen).collect())
}

async fn run(halley: PathBuf, scenarios: Vec<Scenario>) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut runs = Vec::new();
    let mut current: Option<(u16, Cluster)> = None;
    for scenario in scenarios {
        // Scenarios that follow one another share a cluster of the right size.
        let brokers = scenario.brokers();
        if current.as_ref().is_some_and(|(size, _)| *size != brokers) {
            current = None;
        }
        let cluster = match &mut current {
            Some((_, cluster)) => cluster,
            none => {
                let options = Options {
                    brokers,
                    ..Options::new(halley.clone())
                };
                &mut none.insert((brokers, Cluster::start(&options).await?)).1
            }
        };
        eprintln!("{} …", scenario.name());
        let run = scenario.run(cluster).await;
        let run = run.with_context(|| format!("fault {}", scenario.name()));
        if run.is_err() || run.as_ref().is_ok_and(|run| !run.is_good()) {
            cluster.keep_dir();
            eprintln!("logs are kept in {}", cluster.dir().display());
        }
        runs.push(run?);
        cluster.ready().await?;
    }
    println!("{}", table::render(&runs));
    let minutes = started.elapsed().as_secs() / 60;
    ensure!(
        minutes < MINUTES_MAX,
        "all faults together took {minutes} min, more than {MINUTES_MAX}"
    );
    let good = runs.iter().all(Run::is_good);
    Ok(ExitCode::from(u8::from(!good)))
}
