//! `make million`: a million connections to one logic, one job and as many
//! comets as the open-file limit asks for, all on this machine.
//!
//! `halley stress` opens and loads them; this program starts the servers, looks
//! at their memory while everything stands, and prints what was found. Exits
//! with 1 when a message is unaccounted for, or an online count is wrong.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for people at a terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use self::fleet::Fleet;
use self::memory::Memory;

mod fleet;
mod load;
mod memory;
mod report;

const USAGE: &str = "usage: million HALLEY [CONNECTIONS]";
const CONNECTIONS: u32 = 1_000_000;
/// Files of a comet that are not connections, and some for an uneven division.
const FILES_RESERVED: u64 = 1_500;
/// What one connection takes on both sides with the kernel, and a tenth more.
const BYTES_PER_CONNECTION: u64 = 11_500;
/// What stays free for everything else on the machine.
const FREE_MIN_BYTES: u64 = 3 << 30;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let halley = PathBuf::from(args.next().context(USAGE)?);
    ensure!(halley.is_file(), "{} is no binary", halley.display());
    let connections = match args.next() {
        Some(count) => count.parse().context(USAGE)?,
        None => CONNECTIONS,
    };
    let free = Memory::read()?.available;
    let needed = u64::from(connections) * BYTES_PER_CONNECTION + FREE_MIN_BYTES;
    if free < needed {
        bail!(
            "{connections} connections take {:.1} GiB with what has to stay free, and {:.1} GiB are available",
            gib(needed),
            gib(free),
        );
    }
    let comets = comets_for(connections)?;
    eprintln!("starting 1 logic, 1 job and {comets} comets …");
    let fleet = Fleet::start(&halley, comets).await?;
    let found = load::run(&halley, &fleet, connections).await;
    let ended = fleet.end().await;
    let found = found?;
    ended?;
    let (text, is_right) = report::report(&found);
    println!("{text}");
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// As many as the open-file limit asks for.
fn comets_for(connections: u32) -> anyhow::Result<u16> {
    use rustix::process::{Resource, getrlimit};

    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let each = files.saturating_sub(FILES_RESERVED).max(1);
    u16::try_from(u64::from(connections).div_ceil(each)).context("the open-file limit is too low")
}

#[expect(clippy::cast_precision_loss, reason = "told to people")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
