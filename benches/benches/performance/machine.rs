//! Where and of what the figures were taken.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Serialize;

/// See the [module](self).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Provenance {
    date: String,
    commit: String,
    command: String,
    cores: usize,
    model: String,
    memory_gib: u64,
    kernel: String,
}

impl Provenance {
    pub(crate) fn now(command: &str) -> anyhow::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kilobytes = field(&memory, "MemTotal").and_then(|field| {
            let number = field.trim_end_matches("kB").trim();
            number.parse::<u64>().ok()
        });
        let commit = output("git", &["describe", "--always", "--dirty"])?;
        Ok(Self {
            date: output("date", &["--utc", "+%F"])?,
            commit,
            command: command.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            model: field(&cpu, "model name").unwrap_or("unknown").to_owned(),
            memory_gib: kilobytes.context("read the memory's size")? >> 20,
            kernel: output("uname", &["--kernel-name", "--kernel-release"])?,
        })
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let Self {
            date,
            commit,
            command,
            cores,
            model,
            memory_gib,
            kernel,
        } = self;
        format!(
            "{date}, commit {commit}, `{command}`, on {cores} cores ({model}), {memory_gib} GiB, {kernel}, \
             everything on loopback."
        )
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn output(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("start {program}"))?;
    ensure!(output.status.success(), "{program} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
