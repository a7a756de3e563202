//! The command line.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::process::{self, Role};

mod connect;
mod drain;
mod import_goim;
mod token;

/// A gateway that holds clients' connections and brings them what a backend
/// pushes.
///
/// Without a command it runs everything in one process; nothing needs to be
/// configured.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hold clients' connections only; the registry knows where logic is
    Comet(ServeArgs),
    /// Authenticate, route and take pushes only
    Logic(ServeArgs),
    /// Carry pushes only, from the push log to the comets that the registry knows
    Job(ServeArgs),
    /// Check the configuration as a start would, and say what is wrong with it
    CheckConfig(CheckArgs),
    /// Print the configuration in force: every key with its meaning, unit and value
    PrintConfig(ConfigArgs),
    /// Make a configuration out of goim's, and say what is left to do
    ImportGoim(import_goim::Args),
    /// Have a process send its clients away and end, and wait for that
    Drain(drain::Args),
    /// Make a JSON Web Token with which a client can log in
    Token(token::Args),
    /// Be a client: join a room, print what arrives, send what is typed
    Connect(connect::Args),
    /// Load a goim-compatible server and count what arrives
    Stress(Box<halley_stress::StressArgs>),
    /// What `stress` starts more of when one process cannot hold all connections
    #[command(name = halley_stress::WORKER_COMMAND, hide = true)]
    StressWorker,
}

/// How a server process starts.
#[derive(Args, Debug)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print addresses and a first push to try on standard output, also when it is no terminal
    #[arg(long)]
    banner: bool,
}

/// Where the configuration comes from: later ones win, key by key.
///
/// Defaults, the file, variables such as `HALLEY_LOG__FILTER`, flags.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// TOML file; halley print-config shows what can be in it
    #[arg(long, short, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    config: Option<PathBuf>,
    /// Set any key, such as comet.delivery.buckets=64
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    sets: Vec<(String, String)>,
    /// Level or directives of the log [log.filter]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Addresses for clients over TCP [comet.tcp.bind]
    #[arg(long, value_name = "ADDR,…")]
    tcp: Option<String>,
    /// Addresses for clients over WebSocket [comet.websocket.bind]
    #[arg(long, value_name = "ADDR,…")]
    websocket: Option<String>,
    /// Address of the HTTP API [logic.http.bind]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The process that is to start with it
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
    #[command(flatten)]
    config: ConfigArgs,
}

const CONFIG_VARIABLE: &str = "HALLEY_CONFIG";
/// The folder of the engines that tests run against. Developers have it set for
/// whatever they start.
const ENGINES_VARIABLE: &str = "HALLEY_ENGINES_DIR";

/// Variables with the prefix of the configuration that are no keys of it.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    CONFIG_VARIABLE,
    ENGINES_VARIABLE,
    token::VARIABLE,
    halley_stress::PUSH_KEY_VARIABLE,
];

/// The command line or the configuration is wrong (`EX_USAGE`).
const USAGE: u8 = 64;

/// Runs the command and says how the process is to end: 0, 1 for a failure,
/// 64 for a command line or a configuration that cannot be used. `stress` has
/// a number of its own for that.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here as well, and belong on standard output.
            let usage = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if usage { usage_status(&args) } else { 0 });
        }
    };
    match cli.command {
        None => serve(Role::All, cli.serve),
        Some(Command::Comet(args)) => serve(Role::Comet, args),
        Some(Command::Logic(args)) => serve(Role::Logic, args),
        Some(Command::Job(args)) => serve(Role::Job, args),
        Some(Command::CheckConfig(args)) => usage(check(args.role, args.config)),
        Some(Command::PrintConfig(args)) => usage(args.load().and_then(|config| {
            print(&config.render())?;
            Ok(())
        })),
        Some(Command::ImportGoim(args)) => status(import_goim::run(&args)),
        Some(Command::Drain(args)) => status(drain::run(&args)),
        Some(Command::Token(args)) => usage(token::make(&args).and_then(|token| {
            print(&format!("{token}\n"))?;
            Ok(())
        })),
        Some(Command::Connect(args)) => failure(connect::run(args)),
        Some(Command::Stress(args)) => status(halley_stress::run(&args)),
        Some(Command::StressWorker) => status(halley_stress::worker()),
    }
}

fn usage_status(args: &[OsString]) -> u8 {
    match args.get(1) {
        Some(command) if command == "stress" => halley_stress::USAGE,
        Some(_) | None => USAGE,
    }
}

fn serve(role: Role, args: ServeArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(error) => return usage(Err(error)),
    };
    if let Err(error) = config.check(role) {
        return usage(Err(error));
    }
    process::serve(role, config, args.banner)
}

fn check(role: Role, args: ConfigArgs) -> anyhow::Result<()> {
    args.load()?.check(role)?;
    print("the configuration is valid\n")?;
    Ok(())
}

impl ConfigArgs {
    fn load(self) -> anyhow::Result<Config> {
        let flags = [
            ("log.filter", self.log),
            ("comet.tcp.bind", self.tcp),
            ("comet.websocket.bind", self.websocket),
            ("logic.http.bind", self.http),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let sets: Vec<_> = self.sets.into_iter().chain(flags).collect();
        Config::load(self.config.as_deref(), std::env::vars_os(), &sets)
    }
}

/// A command that finds out by itself how to end.
fn status(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| failure(Err(error)))
}

fn usage(result: anyhow::Result<()>) -> ExitCode {
    end(result, USAGE)
}

fn failure(result: anyhow::Result<()>) -> ExitCode {
    end(result, 1)
}

fn end(result: anyhow::Result<()>, status: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(status)
        }
    }
}

/// Nobody reading is no failure of ours.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "expected KEY=VALUE".to_owned())?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests;
