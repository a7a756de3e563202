//! The load tool: opens connections to a goim-compatible server, pushes through its HTTP API, and accounts for every
//! single message. Its method and all its figures are explained in `docs/stress.md`.
//!
//! - A coordinator pushes, asks workers, and adds up; workers hold the connections. One worker lives in the
//!   coordinator's process; when more are needed each is a process of the same executable (see [`worker()`]). All
//!   speak the same line protocol (`messages`), so there is one code path.
//! - Every push carries its run, stream, sequence number and the moment at which it should have been sent. Members
//!   compare what they got with what the HTTP answers promised, number by number (`account`). Latency counts
//!   from the intended moment, so that a server that holds the pusher up cannot hide the wait.
//! - The receiving side shares the machine with the server, so it is lean: one task per connection, one read buffer
//!   and one clock reading per read, no allocation per message (`worker::inbound`).

mod account;
mod args;
mod clock;
mod crew;
mod expect;
mod growth;
mod html;
mod interrupt;
mod kernel;
mod latency;
mod messages;
mod payload;
mod progress;
mod pusher;
mod report;
mod sampler;
mod scenario;
mod series;
mod server;
mod table;
#[cfg(test)]
mod tests;
mod worker;
mod zipf;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

pub use self::args::{PUSH_KEY_VARIABLE, StressArgs};

/// The hidden subcommand under which the executable must call [`worker()`].
pub const WORKER_COMMAND: &str = "stress-worker";

/// The exit code of a command line that cannot be used, also where that is found before [`run()`]: a run
/// that failed ends with another.
pub const USAGE: u8 = 2;

/// The exit code of a loss or another failure: the report says which.
const FAILED: u8 = 1;

/// Runs a scenario on a runtime of its own and prints the report on standard output.
///
/// The exit code is 0 when everything asked for happened and every message is accounted for, 1 when not, and 2 when
/// the settings do not fit together. An error means that there is nothing to report.
pub fn run(args: &StressArgs) -> anyhow::Result<ExitCode> {
    if let Err(error) = args.check() {
        writeln!(std::io::stderr(), "error: {error:#}").context("print the error")?;
        return Ok(ExitCode::from(USAGE));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let finished = runtime.block_on(scenario::run(args))?;
    runtime.shutdown_background();
    let report = &finished.report;
    let mut out = std::io::stdout().lock();
    if args.common().json {
        let json = serde_json::to_string_pretty(report).context("encode the report")?;
        writeln!(out, "{json}").context("print the report")?;
    } else {
        writeln!(out, "{}", table::render(report)).context("print the report")?;
    }
    // After the report, which a page that cannot be written must not take with it.
    if let Some(path) = &args.common().html {
        let page = html::page(&finished, &command())?;
        std::fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// How this process was called, without the key of the push API.
fn command() -> String {
    const SECRET: &str = "--push-key";
    let mut words: Vec<String> = Vec::new();
    for word in std::env::args_os() {
        let word = word.to_string_lossy();
        let hidden = words.last().is_some_and(|last| last == SECRET);
        words.push(if hidden {
            "…".to_owned()
        } else if word.starts_with("--push-key=") {
            format!("{SECRET}=…")
        } else {
            word.into_owned()
        });
    }
    words.join(" ")
}

/// Serves the coordinator that started this process, over standard input and output, until it hangs up.
pub fn worker() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let served = runtime.block_on(async {
        // Ctrl-C reaches all processes of a terminal, but only the coordinator decides what it means.
        let _ignored = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
            .context("ignore interrupts")?;
        worker::serve(tokio::io::stdin(), tokio::io::stdout()).await
    });
    // A blocked read of standard input must not hold the process.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}
