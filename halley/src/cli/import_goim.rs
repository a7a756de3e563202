//! `halley import-goim`: a Halley config out of goim's.
//!
//! Everything in goim's files ends in one of three ways: it is in the config,
//! it is named as dropped with the reason, or it is left to the operator.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use import::Import;
use source::Source;

mod import;
mod rules;
mod source;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// goim's comet.toml, logic.toml and job.toml, or some of them, under any name
    #[arg(value_name = "FILE", required = true, num_args = 1..=3)]
    files: Vec<PathBuf>,
    /// Where to write the config, which must not exist; standard output if absent
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    environment: Environment,
}

// What goim's processes are told by flags and variables rather than by their
// files. (A doc comment would become the command's own help.)
#[derive(clap::Args, Debug, Default)]
struct Environment {
    /// goim's -region
    #[arg(long, env = "REGION", default_value = "", hide_env_values = true)]
    region: String,
    /// goim's -zone
    #[arg(long, env = "ZONE", default_value = "", hide_env_values = true)]
    zone: String,
    /// goim's -deploy.env
    #[arg(
        long = "deploy.env",
        env = "DEPLOY_ENV",
        default_value = "",
        hide_env_values = true
    )]
    deploy_env: String,
}

/// Writes the config, and on standard error what did not get into it.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut sources = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        sources.push(Source::parse(&name_of(file), &text)?);
    }
    let import = translate(sources, &args.environment)?;
    match &args.output {
        Some(file) => write_new(file, &import.render())?,
        None => super::print(&import.render())?,
    }
    // Whoever closed standard error does not want to know.
    let _ = io::stderr().write_all(import.report().as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn translate(mut sources: Vec<Source>, environment: &Environment) -> anyhow::Result<Import> {
    // The order of the roles in Halley's own reference.
    sources.sort_by_key(Source::role);
    for pair in sources.windows(2) {
        ensure!(
            pair[0].role() != pair[1].role(),
            "{} and {} are both of goim's {}",
            pair[0].name(),
            pair[1].name(),
            pair[0].role()
        );
    }
    let names: Vec<&str> = sources.iter().map(Source::name).collect();
    let mut import = Import::new(&names);
    for source in sources {
        rules::apply(source, environment, &mut import)?;
    }
    rules::finish(&mut import);
    Ok(import)
}

/// People know files by their last name; two of the same are told apart by
/// what is in them.
fn name_of(file: &Path) -> String {
    file.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn write_new(file: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests;
