//! One broker.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::jars::Jars;
use super::metadata;
use crate::port::Port;
use crate::process::Process;
use crate::run::run;

/// Any, but the same for all brokers of a cluster.
const CLUSTER_ID: &str = "halleyhalleyhalleyhall";
const FORMAT_HEAP_MB: u32 = 64;
const HEAP_MB: u32 = 256;

#[derive(Debug)]
pub(super) struct Broker {
    /// Declared first: it ends before its files do.
    process: Option<Process>,
    jars: Jars,
    lives_long: bool,
    client: Port,
    authenticated: Port,
    controller: Port,
    dir: TempDir,
}

impl Broker {
    /// A broker with its place on this machine, not running.
    pub(super) fn reserve(jars: Jars, lives_long: bool) -> Result<Self> {
        Ok(Self {
            process: None,
            jars,
            lives_long,
            client: Port::reserve()?,
            authenticated: Port::reserve()?,
            controller: Port::reserve()?,
            dir: tempfile::Builder::new().prefix("halley-kafka-").tempdir()?,
        })
    }

    /// For clients.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client.number())
    }

    /// For clients that authenticate.
    pub(super) fn authenticated(&self) -> String {
        format!("127.0.0.1:{}", self.authenticated.number())
    }

    /// For the other brokers.
    pub(super) fn controller(&self) -> String {
        format!("127.0.0.1:{}", self.controller.number())
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    /// Prepares the directory for the data. A user is known by PLAIN through the
    /// properties, and by SCRAM from here on.
    pub(super) fn format(&self, properties: &str, user: Option<&(String, String)>) -> Result<()> {
        fs::write(self.properties_file(), properties).context("write server.properties")?;
        let mut format = self
            .jars
            .java("kafka.tools.StorageTool", FORMAT_HEAP_MB, false);
        format
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(self.properties_file());
        if let Some((name, password)) = user {
            let scram = format!("SCRAM-SHA-256=[name={name},password={password}]");
            format.args(["--add-scram", &scram]);
        }
        run(&mut format).context("format kafka's data directory")?;
        Ok(())
    }

    pub(super) fn spawn(&mut self) -> Result<()> {
        let mut command = self.jars.java("kafka.Kafka", HEAP_MB, self.lives_long);
        command.arg(self.properties_file());
        self.process = Some(Process::spawn(command, self.dir.path()).context("start kafka")?);
        Ok(())
    }

    /// Waits until the broker sees `brokers` of them, itself among them.
    pub(super) fn wait_until_ready(&mut self, brokers: usize) -> Result<()> {
        let port = self.client.number();
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process
            .wait_until_ready(|| metadata::brokers_seen_at(port).is_ok_and(|seen| seen >= brokers))
    }

    pub(super) fn kill(&mut self) {
        self.process = None;
    }
}
