//! `make goim-fleet`: every mix of goim's nodes and Halley's, with real Kafka,
//! Redis and discovery, and what clients and backends see of it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use halley_tests::goim::{Binaries, Engines, Fleet, Mix};

use checks::{Check, Outcome};

mod checks;
mod clients;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let mut binary = |name: &str| -> anyhow::Result<PathBuf> {
        let usage = || format!("usage: goim-fleet HALLEY GOIM-FOLDER [MIX…], no {name}");
        let path = PathBuf::from(args.next().with_context(usage)?);
        // Processes are started in a folder of their own.
        path.canonicalize()
            .with_context(|| path.display().to_string())
    };
    let binaries = Binaries {
        halley: binary("binary of halley")?,
        goim: binary("folder with goim's binaries")?,
    };
    let asked: Vec<String> = args.collect();
    let mixes: Vec<Mix> = Mix::all()
        .into_iter()
        .filter(|mix| asked.is_empty() || asked.contains(&mix.to_string()))
        .collect();
    ensure!(
        !mixes.is_empty(),
        "no such mix: as in {}, comet first",
        Mix::all()[0]
    );

    println!("starting Kafka 3.9 and Redis …");
    let engines = Engines::start()?;
    let mut results = Vec::with_capacity(mixes.len());
    for mix in mixes {
        println!("comet, logic, job: {mix} …");
        let outcomes = try_out(mix, &binaries, &engines).await?;
        for (check, outcome) in &outcomes {
            if let Outcome::Failed(problem) = outcome {
                println!("  {check}: {problem}");
            }
        }
        results.push((mix, outcomes));
    }
    println!("\n{}", table(&results));
    let is_good = |(_, outcomes): &(Mix, Vec<(Check, Outcome)>)| {
        !outcomes
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    };
    Ok(ExitCode::from(u8::from(!results.iter().all(is_good))))
}

/// Starts one mix on empty engines and asks it everything.
async fn try_out(
    mix: Mix,
    binaries: &Binaries,
    engines: &Engines,
) -> anyhow::Result<Vec<(Check, Outcome)>> {
    engines.redis.flush_all()?;
    let mut fleet = Fleet::start(mix, binaries, engines).await?;
    let outcomes = checks::run(&mut fleet).await;
    if outcomes
        .iter()
        .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
    {
        println!("  logs: {}", fleet.keep_logs().display());
    }
    Ok(outcomes)
}

fn table(results: &[(Mix, Vec<(Check, Outcome)>)]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let checks = results
        .first()
        .map(|(_, outcomes)| outcomes.iter().map(|(check, _)| (*check).to_owned()));
    let head = ["comet", "logic", "job"].map(str::to_owned);
    table.set_header(head.into_iter().chain(checks.into_iter().flatten()));
    for (mix, outcomes) in results {
        let nodes = [
            mix.comet.to_string(),
            mix.logic.to_string(),
            mix.job.to_string(),
        ];
        let outcomes = outcomes.iter().map(|(_, outcome)| outcome.to_string());
        table.add_row(nodes.into_iter().chain(outcomes));
    }
    table
}
