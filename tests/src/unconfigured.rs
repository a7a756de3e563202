//! Programs without the settings of whoever runs the tests.

use std::ffi::OsStr;
use std::process::Command;

/// The program, without the variables from which Halley takes its settings.
pub fn unconfigured(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALLEY_") {
            command.env_remove(name);
        }
    }
    command
}
