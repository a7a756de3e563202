//! Processes of a measurement: what they use, and how they are talked to.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// How long a process may take for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time between two looks at a process that is to come to rest.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const LOOKS_MAX: usize = 50;

/// A process of this executable, told what to do line by line.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    pub(crate) fn start(args: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this executable")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped());
        let (child, stdout) = spawn(command)?;
        Self::of(child, stdout)
    }

    fn of(mut child: Child, stdout: Lines<BufReader<ChildStdout>>) -> anyhow::Result<Self> {
        let stdin = child.stdin.take().context("standard input is a pipe")?;
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    pub(crate) async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line}\n");
        let told = self.stdin.write_all(line.as_bytes()).await;
        told.context("tell a process")
    }

    pub(crate) async fn hear(&mut self) -> anyhow::Result<String> {
        hear(&mut self.stdout).await
    }

    pub(crate) async fn expect(&mut self, wanted: &str) -> anyhow::Result<()> {
        let heard = self.hear().await?;
        if heard != wanted {
            bail!("heard {heard:?} instead of {wanted:?}");
        }
        Ok(())
    }
}

/// Starts a process that ends with this value, and hears what it prints.
pub(crate) fn spawn(
    mut command: Command,
) -> anyhow::Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", command.as_std().get_program().display()))?;
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    Ok((child, BufReader::new(stdout).lines()))
}

/// The next line of a process.
pub(crate) async fn hear(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
    let line = timeout(PATIENCE, lines.next_line()).await;
    let line = line.context("a process hangs")??;
    line.context("a process has ended")
}

/// The CPU time of a process, thread by thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CpuTime(BTreeMap<String, u64>);

impl CpuTime {
    /// Reads it once the process has come to rest: of a thread that runs, the
    /// kernel counts the current slice only when it is over.
    pub(crate) async fn at_rest(pid: u32) -> anyhow::Result<Self> {
        let mut last = Self::read(pid)?;
        for _ in 0..LOOKS_MAX {
            sleep(LOOK_AGAIN).await;
            let now = Self::read(pid)?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }

    fn read(pid: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(&folder).context("read the threads of a process")? {
            let thread = thread?;
            // It may end between the two looks.
            if let Ok(line) = fs::read_to_string(thread.path().join("schedstat")) {
                let spent = line.split(' ').next().context("schedstat is empty")?;
                let name = thread.file_name().to_string_lossy().into_owned();
                threads.insert(name, spent.parse()?);
            }
        }
        Ok(Self(threads))
    }

    /// Nanoseconds since `before`.
    ///
    /// What a thread that has ended spent is not known. Such are tokio's for
    /// blocking calls, which have been idle for ten seconds when they end.
    pub(crate) fn since(&self, before: &Self) -> u64 {
        let spent = self.0.iter().map(|(thread, now)| {
            let before = before.0.get(thread).copied().unwrap_or(0);
            now.saturating_sub(before)
        });
        spent.sum()
    }
}
