//! One server process, from its configuration to its exit status.

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use halley_node::{Drains, Readiness, SharedRegistry, Signals, limits, run, telemetry};
use tracing::{error, info, warn};

use crate::banner::Banner;
use crate::config::Config;
use crate::roles;

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    All,
    Comet,
    Logic,
    Job,
}

/// What a thread that blocks, such as in a name lookup, may delay the exit.
const THREADS_END_MAX: Duration = Duration::from_secs(1);

/// Starts the role and returns when it has ended: 0 after a signal, 1 after a
/// failure, which is in the log.
pub(crate) fn serve(role: Role, config: Config, banner: bool) -> ExitCode {
    if let Err(error) = telemetry::init(&config.log) {
        let _ = writeln!(io::stderr(), "error: {error}");
        return ExitCode::FAILURE;
    }
    let served = runtime(config.runtime.worker_threads).and_then(|runtime| {
        let served = runtime.block_on(start_and_run(role, config, banner));
        runtime.shutdown_timeout(THREADS_END_MAX);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "ended by a failure");
            ExitCode::FAILURE
        }
    }
}

/// Runs a client's work to its end on a small runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime(1)?;
    let done = runtime.block_on(work);
    // Standard input blocks a thread until the next line.
    runtime.shutdown_background();
    done
}

fn runtime(worker_threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if worker_threads > 0 {
        builder.worker_threads(worker_threads);
    }
    let runtime = builder.enable_all().thread_name("halley").build()?;
    Ok(runtime)
}

async fn start_and_run(role: Role, config: Config, banner: bool) -> anyhow::Result<()> {
    // First of all, so that a signal during the start drains what has started.
    let signals = Signals::system()?;
    info!(version = env!("CARGO_PKG_VERSION"), ?role, "starting");
    raise_open_files();

    let (registry, readiness) = (SharedRegistry::default(), Readiness::default());
    let drains = Drains::default();
    let deadline = config.drain.deadline;
    let built = roles::build(role, config, &registry, &readiness, &drains)?;
    let _watching = built.nodes;
    let announcing = async {
        readiness.ready().await;
        announce(&built.banner, banner);
        std::future::pending().await
    };
    tokio::select! {
        ended = run(built.stages, deadline, readiness.clone(), signals, &drains) => ended,
        ended = announcing => ended,
        never = built.trust.watch() => match never {},
    }
}

fn announce(banner: &Banner, asked_for: bool) {
    let mut stdout = io::stdout();
    if asked_for || stdout.is_terminal() {
        // Whoever closed standard output does not want to know.
        let _ = write!(stdout, "{banner}").and_then(|()| stdout.flush());
    } else {
        banner.log();
    }
}

fn raise_open_files() {
    match limits::raise_open_files() {
        Ok(limits::OpenFiles { soft, .. }) => {
            info!(open_files_max = soft, "each connection takes one open file");
        }
        Err(error) => warn!(%error, "limit on open files not raised"),
    }
}
