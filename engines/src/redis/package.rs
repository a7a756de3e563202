//! Finds Redis, or fetches it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::find;
use crate::{apt, cache};

/// The command that starts the server.
pub(super) fn server() -> Result<Command> {
    if let Some(program) = find("redis-server") {
        return Ok(Command::new(program));
    }
    let root = cache::directory("redis", |root| {
        // In Debian the server is a link to a program of the tools.
        apt::unpack(&["redis-server", "redis-tools"], root).context("get redis")
    })?;
    let libraries: Vec<PathBuf> = fs::read_dir(root.join("usr/lib"))
        .context("read the directory of redis")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    let mut command = Command::new(root.join("usr/bin/redis-server"));
    command.env("LD_LIBRARY_PATH", env::join_paths(libraries)?);
    Ok(command)
}
