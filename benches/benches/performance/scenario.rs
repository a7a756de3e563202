//! A scenario of `halley stress`, against what is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a scenario may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// What a scenario is run against.
#[derive(Debug)]
pub(crate) struct Place {
    /// Flags that say where clients connect and which processes are watched.
    pub(crate) flags: Vec<String>,
    /// Where pushes go, for scenarios that push.
    pub(crate) http: SocketAddr,
}

impl Place {
    /// Of plain TCP and WebSocket, one of each for every comet.
    pub(crate) fn new(
        comets: impl IntoIterator<Item = (SocketAddr, SocketAddr)>,
        pids: impl IntoIterator<Item = u32>,
        http: SocketAddr,
    ) -> Self {
        let addresses = comets.into_iter().flat_map(|(tcp, websocket)| {
            [
                format!("--tcp=tcp://{tcp}"),
                format!("--ws=ws://{websocket}/sub"),
            ]
        });
        let pids = pids.into_iter().map(|pid| format!("--server-pid={pid}"));
        Self {
            flags: addresses.chain(pids).collect(),
            http,
        }
    }
}

/// One that runs, killed with this value.
#[derive(Debug)]
pub(crate) struct Scenario {
    flags: &'static str,
    child: Child,
}

impl Scenario {
    /// `flags` are the scenario's name and what it is told beside its place;
    /// `shown` are figures by which the tool would judge it, and which the
    /// reader judges.
    pub(crate) fn start(
        halley: &Path,
        place: &Place,
        flags: &'static str,
        shown: &[&str],
    ) -> anyhow::Result<Self> {
        let mut stress = Command::new(halley);
        stress
            .arg("stress")
            .args(flags.split(' '))
            .arg("--json")
            .args(&place.flags)
            // An expectation, here one that is always met, takes the place of a rule.
            .args(shown.iter().map(|figure| format!("--expect={figure}>=0")));
        if ["room ", "rooms ", "push "]
            .iter()
            .any(|name| flags.starts_with(name))
        {
            stress.arg(format!("--http=http://{}", place.http));
        }
        let child = stress
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start halley stress {flags}"))?;
        Ok(Self { flags, child })
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it found.
    ///
    /// # Errors
    ///
    /// When something is amiss: what the other figures say is not what they
    /// are for.
    pub(crate) async fn report(self) -> anyhow::Result<Value> {
        let Self { flags, child } = self;
        let output = timeout(PATIENCE, child.wait_with_output()).await;
        let output = output.with_context(|| format!("halley stress {flags} hangs"))??;
        ensure!(
            !output.stdout.is_empty(),
            "halley stress {flags} ended with {}",
            output.status
        );
        let report: Value = serde_json::from_slice(&output.stdout).context("read the report")?;
        let problems = report["problems"].as_array();
        let problems = problems.context("no problems in the report")?;
        ensure!(problems.is_empty(), "halley stress {flags}: {problems:?}");
        Ok(report)
    }
}

/// The number at that place of a report, or the sum of all that are there.
pub(crate) fn number(report: &Value, pointer: &str) -> anyhow::Result<f64> {
    let value = match report.pointer(pointer) {
        Some(Value::Object(counts)) => counts.values().map(Value::as_f64).sum(),
        value => value.and_then(Value::as_f64),
    };
    value.with_context(|| format!("no {pointer} in the report"))
}
