//! One Halley process of a cluster.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use halley_engines::Watcher;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::metrics::Samples;
use crate::unconfigured;

/// How long a node may take to start, and to end when it is told to.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a node may take to show its metrics before it counts as away.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A process, running or not; it is killed with this value.
#[derive(Debug)]
pub struct Node {
    /// Its name in the cluster, such as `comet-1`.
    pub name: String,
    /// Where it is watched.
    pub admin: SocketAddr,
    command: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    running: Option<Running>,
}

/// A child, which the watcher kills when this process is killed before it can.
#[derive(Debug)]
struct Running {
    child: Child,
    watcher: Watcher,
}

impl Node {
    /// A node that runs `halley <role>` with the configuration `config`, which
    /// is written below `dir`.
    pub fn new(
        halley: &Path,
        dir: &Path,
        role: &str,
        name: &str,
        admin: SocketAddr,
        config: &str,
    ) -> anyhow::Result<Self> {
        let file = dir.join(format!("{name}.toml"));
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        Ok(Self {
            name: name.to_owned(),
            admin,
            command: halley.to_owned(),
            args: vec![
                role.to_owned(),
                "--config".to_owned(),
                file.to_string_lossy().into_owned(),
            ],
            log: dir.join(format!("{name}.log")),
            running: None,
        })
    }

    /// Starts the process; its log goes on where it was.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut child = unconfigured(&self.command)
            .args(&self.args)
            // Ctrl-C is for who started it, and drains it in its turn.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.command.display()))?;
        // The log and the configuration are for those who look why it was killed.
        match Watcher::start(child.id(), [] as [&Path; 0]) {
            Ok(watcher) => {
                self.running = Some(Running { child, watcher });
                Ok(())
            }
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error).context("watch over it")
            }
        }
    }

    /// Waits until the node says that it is ready.
    ///
    /// # Errors
    ///
    /// With the end of its log when the node has ended or does not get ready.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(running) = &mut self.running
                && let Some(status) = running.child.try_wait()?
            {
                self.running = None;
                bail!("{} ended with {status}\n{}", self.name, self.log_tail());
            }
            let url = format!("http://{}/readyz", self.admin);
            let answer = reqwest::Client::new()
                .get(url)
                .timeout(ANSWER_MAX)
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
        bail!("{} does not get ready\n{}", self.name, self.log_tail())
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Kills the process as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(Running { mut child, watcher }) = self.running.take() {
            child.kill()?;
            drop(watcher);
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal, such as the one that stops a process where it is.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("not running")?;
        kill_process(Pid::from_child(&running.child), signal)?;
        Ok(())
    }

    /// Asks the process to drain and waits for its end.
    pub async fn drain(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Like [`drain`](Self::drain), for a process that may have ended already.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if running.child.try_wait()?.is_none() {
            self.signal(Signal::TERM)?;
            self.ended().await?;
        }
        self.running = None;
        Ok(())
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let Running { mut child, watcher } = self.running.take().context("not running")?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                child.kill()?;
                drop(watcher);
                child.wait()?;
                bail!("{} does not end\n{}", self.name, self.log_tail());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What it counts; `None` while it cannot be asked.
    pub async fn metrics(&self) -> Option<Samples> {
        self.running.as_ref()?;
        let url = format!("http://{}/metrics", self.admin);
        let request = reqwest::Client::new().get(url).timeout(ANSWER_MAX);
        let text = request.send().await.ok()?.text().await.ok()?;
        Some(Samples::parse(&text))
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let mut tail = format!("{}:\n", self.log.display());
        for line in lines.iter().rev().take(20).rev() {
            let _ = writeln!(tail, "  {line}");
        }
        tail
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}
