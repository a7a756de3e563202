//! How many instructions the codec and a room's log take, against committed counts.
//!
//! `instructions` compares and fails beyond the tolerance; `instructions
//! --renew` writes the counts of now. Counts depend on the compiler, which
//! `rust-toolchain.toml` pins, on the architecture, which the file is named
//! after, and hardly on the machine.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

mod baseline;
mod callgrind;
mod codec;
mod log;

use baseline::Baseline;
use callgrind::instructions_each;

/// Something that is counted; it does its work so many times.
struct Case {
    name: &'static str,
    run: fn(u32),
}

const fn case(name: &'static str, run: fn(u32)) -> Case {
    Case { name, run }
}

/// How far a count may be from the committed one, in percent.
const TOLERANCE_PERCENT: f64 = 5.0;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => compare(),
        ["--renew"] => renew(),
        ["run", name, times] => {
            let case = cases().find(|case| case.name == *name);
            (case.context("no such case")?.run)(times.parse()?);
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: instructions [--renew]"),
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    codec::CASES.iter().chain(log::CASES)
}

fn file() -> PathBuf {
    let name = format!("instructions.{}.txt", std::env::consts::ARCH);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn renew() -> anyhow::Result<ExitCode> {
    let mut baseline = Baseline::default();
    for case in cases() {
        let count = instructions_each(case.name)?;
        println!("{:<40} {count:>9.1}", case.name);
        baseline.set(case.name, count);
    }
    baseline.write(&file())?;
    Ok(ExitCode::SUCCESS)
}

fn compare() -> anyhow::Result<ExitCode> {
    let file = file();
    let baseline = Baseline::read(&file).context(
        "for the first counts of an architecture: make instructions INSTRUCTIONS=--renew",
    )?;
    let mut has_changed = false;
    for case in cases() {
        let count = instructions_each(case.name)?;
        let before = baseline.get(case.name);
        let percent = before.map(|before| (count / before - 1.0) * 100.0);
        let is_within = percent.is_some_and(|percent| percent.abs() <= TOLERANCE_PERCENT);
        has_changed |= !is_within;
        let change = percent.map_or("new".to_owned(), |percent| format!("{percent:+.1} %"));
        let mark = if is_within {
            ""
        } else {
            "  <-- beyond the tolerance"
        };
        println!("{:<40} {count:>9.1} {change:>9}{mark}", case.name);
    }
    let gone = baseline
        .names()
        .filter(|name| cases().all(|case| case.name != *name));
    for name in gone {
        has_changed = true;
        println!("{name:<40} is counted no more");
    }
    if has_changed {
        eprintln!(
            "instructions differ from {} by more than {TOLERANCE_PERCENT} %: if that is as it should be, \
             renew it with: make instructions INSTRUCTIONS=--renew",
            file.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
