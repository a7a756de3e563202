//! `make bench`: what Halley costs end to end, as ratios that travel.
//!
//! The README of this folder says how each number is taken.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::json;

mod cluster;
mod cores;
mod fanout;
mod figure;
mod job;
mod load;
mod machine;
mod neighbours;
mod process;
mod protocol;
mod raw;
mod reader;
mod scenario;
mod server;

use fanout::FanOut;
use figure::{Sample, figures};
use load::{LOADS, Load};
use machine::Provenance;
use protocol::Speaks;

/// What is measured, end to end.
#[derive(Debug, Parser)]
struct Args {
    /// The release binary
    halley: PathBuf,
    /// Runs; each case has new processes in each
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Measure goim too, where it can do the same; the folder with its binaries,
    /// as `make goim-fleet` builds them
    #[arg(long, value_name = "FOLDER")]
    goim: Option<PathBuf>,
    /// Replace the table in this page too
    #[arg(long, value_name = "PAGE")]
    write: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What runs on its own.
#[derive(Clone, Copy, Debug)]
enum Case {
    FanOut(FanOut),
    Load(&'static Load),
    Neighbours,
}

const MEMBERS: [usize; 3] = [1_000, 5_000, 10_000];
const BEGIN: &str = "<!-- make bench: begin -->\n";
const END: &str = "<!-- make bench: end -->\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match args.as_slice() {
        ["raw", members] => raw::run(members.parse()?),
        ["reader", speaks, address, members] => {
            reader::run(speaks.parse()?, address.parse()?, members.parse()?)
        }
        _ => measure(&Args::parse()),
    }
}

fn measure(args: &Args) -> anyhow::Result<()> {
    let cases: Vec<Case> = cases()
        .filter(|case| case.name().contains(&args.only))
        .collect();
    if cases.is_empty() {
        bail!("no case is called so: {}", args.only);
    }
    ensure!(
        args.halley.is_file(),
        "{} is no binary",
        args.halley.display()
    );
    // Before the runs, which take long enough for a commit.
    let provenance = Provenance::now("make bench")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut samples: Vec<Sample> = Vec::new();
    for run in 1..=args.runs {
        for case in &cases {
            eprintln!("run {run} of {}: {}", args.runs, case.name());
            let measured = runtime.block_on(case.run(args));
            samples.extend(measured.with_context(|| case.name())?);
        }
    }
    let figures = figures(&samples);
    let shown = format!("{}\n\n{}\n", provenance.line(), figure::table(&figures));
    if args.json {
        let report = json!({ "provenance": provenance, "figures": figures });
        println!("{report:#}");
    } else {
        println!("{shown}");
    }
    if let Some(page) = &args.write {
        replace(page, &shown).with_context(|| format!("write {}", page.display()))?;
    }
    Ok(())
}

/// The order in which they run.
fn cases() -> impl Iterator<Item = Case> {
    let speaks = [Speaks::Tcp, Speaks::WebSocket];
    let fan_outs = speaks
        .into_iter()
        .flat_map(|speaks| MEMBERS.map(|members| Case::FanOut(FanOut { members, speaks })));
    fan_outs
        .chain(LOADS.iter().map(Case::Load))
        .chain([Case::Neighbours])
}

impl Case {
    fn name(&self) -> String {
        match self {
            Self::FanOut(case) => case.name(),
            Self::Load(case) => case.name.to_owned(),
            Self::Neighbours => neighbours::NAME.to_owned(),
        }
    }

    async fn run(&self, args: &Args) -> anyhow::Result<Vec<Sample>> {
        let halley = &args.halley;
        match self {
            Self::FanOut(case) => case.run(halley).await,
            Self::Load(case) => case.run(halley, args.goim.as_deref()).await,
            Self::Neighbours => neighbours::run(halley).await,
        }
    }
}

/// Replaces what is between the two marks of a page.
fn replace(page: &Path, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGIN).context("no mark of a beginning")?;
    let (_, after) = rest.split_once(END).context("no mark of an end")?;
    fs::write(page, format!("{before}{BEGIN}\n{table}\n{END}{after}"))?;
    Ok(())
}
