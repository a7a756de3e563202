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
mod interrupt;
mod latency;
mod messages;
mod payload;
mod progress;
mod pusher;
mod report;
mod scenario;
mod server;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

pub use self::args::{PUSH_KEY_VARIABLE, StressArgs};

/// The hidden subcommand under which the executable must call [`worker()`].
pub const WORKER_COMMAND: &str = "stress-worker";

/// A loss or another failure: the report says which.
const FAILED: u8 = 1;
/// The settings cannot work.
const USAGE: u8 = 2;

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
    let report = runtime.block_on(scenario::run(args))?;
    runtime.shutdown_background();
    let mut out = std::io::stdout().lock();
    if args.common().json {
        let json = serde_json::to_string_pretty(&report).context("encode the report")?;
        writeln!(out, "{json}").context("print the report")?;
    } else {
        writeln!(out, "{}", table::render(&report)).context("print the report")?;
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
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
