//! The process of an engine.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::run::last_lines;
use crate::wait;

/// Ends the engine and removes its files when its own standard input ends:
/// the other end of the pipe is closed with the process that holds it.
const WATCH: &str = r#"read -r _; kill -9 "$1"; rm -rf "$2""#;

/// A running engine. It is killed when this is dropped, and when the process
/// that started it is no more.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watcher: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, whose output goes to a file in `dir`.
    pub(crate) fn spawn(mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join("output.log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("create the log of an engine")?;
        // Ctrl-C at the terminal is for those who use the engine.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh", &child.id().to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watcher {
            Ok(watcher) => Ok(Self {
                child,
                watcher,
                log,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error).context("start sh")
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the engine answers; tells its last words if it ends instead.
    pub(crate) fn wait_until_ready(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Duration::from_mins(2);
        wait::until("engine is ready", deadline, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("engine ended ({status})");
            }
            Ok(is_ready())
        })
        .with_context(|| self.last_words())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        format!("it said:\n{}", last_lines(&text))
    }

    /// Waits for the end. The watcher goes first: once waited for, the process
    /// id may be somebody else's.
    fn reap(&mut self) -> Result<ExitStatus> {
        self.watcher.kill()?;
        self.watcher.wait()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    /// `kill -9`.
    fn drop(&mut self) {
        // Neither fails for a child that nobody has waited for.
        let _ = self.child.kill();
        let _ = self.reap();
    }
}
