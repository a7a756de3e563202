//! Finds valgrind, or fetches it.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::find;
use crate::{apt, cache};

/// The command that runs a program under valgrind, still without arguments.
///
/// # Errors
///
/// When it is not on this machine and cannot be fetched.
pub fn valgrind() -> Result<Command> {
    if let Some(program) = find("valgrind") {
        return Ok(Command::new(program));
    }
    let root = cache::directory("valgrind", |root| {
        apt::unpack(&["valgrind"], root).context("get valgrind")
    })?;
    let mut command = Command::new(root.join("usr/bin/valgrind"));
    command.env("VALGRIND_LIB", root.join("usr/libexec/valgrind"));
    Ok(command)
}
