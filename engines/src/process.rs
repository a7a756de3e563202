//! The process of an engine.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::run::last_lines;
use crate::{wait, watcher::Watcher};

/// A running engine. It is killed when this is dropped, and when the process
/// that started it is no more.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watcher: Option<Watcher>,
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
        match Watcher::start(child.id(), [dir]) {
            Ok(watcher) => Ok(Self {
                child,
                watcher: Some(watcher),
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
}

impl Drop for Process {
    /// `kill -9`.
    fn drop(&mut self) {
        // Neither fails for a child that nobody has waited for.
        let _ = self.child.kill();
        self.watcher = None;
        let _ = self.child.wait();
    }
}
