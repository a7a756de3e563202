//! Redis.

mod client;
mod cluster;
mod package;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::Process;

pub use cluster::RedisCluster;

/// A Redis that keeps nothing: after a restart it is empty.
#[derive(Debug)]
pub struct Redis {
    /// Declared first: it ends before its files do.
    process: Option<Process>,
    port: Port,
    tls_port: Option<Port>,
    arguments: Vec<String>,
    dir: TempDir,
}

impl Redis {
    /// Fetches what a start needs, for those who cannot fetch it then.
    pub fn prepare() -> Result<()> {
        package::server()?;
        Ok(())
    }

    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(Vec::new())
    }

    /// Starts one that answers over TLS too, to those whose certificate comes
    /// from the authority `ca`; its own is `cert` with the key `key`.
    pub fn start_with_tls(ca: &Path, cert: &Path, key: &Path) -> Result<Self> {
        let port = Port::reserve()?;
        let mut arguments = vec!["--tls-port".to_owned(), port.number().to_string()];
        for (name, file) in [
            ("--tls-ca-cert-file", ca),
            ("--tls-cert-file", cert),
            ("--tls-key-file", key),
        ] {
            arguments.extend([name.to_owned(), file.display().to_string()]);
        }
        let mut redis = Self::start_with(arguments)?;
        redis.tls_port = Some(port);
        Ok(redis)
    }

    fn start_with(arguments: Vec<String>) -> Result<Self> {
        let mut redis = Self {
            process: None,
            port: Port::reserve()?,
            tls_port: None,
            arguments,
            dir: tempfile::Builder::new().prefix("halley-redis-").tempdir()?,
        };
        redis.restart()?;
        Ok(redis)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `redis://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// `rediss://127.0.0.1:<port>`, if it was started with TLS.
    pub fn tls_url(&self) -> Option<String> {
        let port = self.tls_port.as_ref()?.number();
        Some(format!("rediss://127.0.0.1:{port}"))
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on the same port and waits until it answers; one that runs is
    /// killed first.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command: Command = package::server()?;
        command
            .args(["--port", &self.port().to_string()])
            .args(["--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.arguments);
        let mut process = Process::spawn(command, self.dir.path()).context("start redis")?;
        let port = self.port();
        process.wait_until_ready(|| {
            client::call(port, &["PING"]).is_ok_and(|answer| answer == "PONG")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Forgets everything.
    pub fn flush_all(&self) -> Result<()> {
        self.call(&["FLUSHALL"])?;
        Ok(())
    }

    fn call(&self, words: &[&str]) -> Result<String> {
        client::call(self.port(), words)
    }
}
