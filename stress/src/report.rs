//! What a run found, with the names that `--json` prints. `docs/stress.md` explains each field.

mod parts;
mod problems;
mod resources;

use serde::Serialize;

pub(crate) use self::parts::{
    ChurnReport, Connections, Deliveries, Growth, Heartbeats, Pushes, RoomsReport, SlowReport,
    StormReport, TurnoverReport,
};
pub(crate) use self::resources::{Memory, ServerUse, ToolUse, cpu_ms};
use crate::expect::{Expectation, Judged};
use crate::kernel::Kernel;
use crate::messages::{Churned, Crowd, Opened, Settled, Stormed};
use crate::pusher::Pushed;
use crate::server::{Reading, Server};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// Identifies the run in every message, key and room of it.
    pub(crate) run: String,
    pub(crate) ok: bool,
    /// Why the run is not ok.
    pub(crate) problems: Vec<String>,
    pub(crate) interrupted: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) expectations: Vec<Judged>,
    pub(crate) connections: Connections,
    pub(crate) heartbeats: Heartbeats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pushes: Option<Pushes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliveries: Option<Deliveries>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rooms: Option<RoomsReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turnover: Option<TurnoverReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<SlowReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) storms: Vec<StormReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) churn: Option<ChurnReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) growth: Option<Growth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
    pub(crate) server: ServerUse,
    pub(crate) tool: ToolUse,
}

/// Readings of the server's processes at the borders of the phases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    pub(crate) before: Option<Reading>,
    pub(crate) connected: Option<Reading>,
    pub(crate) end: Option<Reading>,
}

/// Everything a scenario brings home.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) scenario: &'static str,
    pub(crate) run: u64,
    pub(crate) transport: String,
    pub(crate) wanted: u64,
    pub(crate) workers: u64,
    pub(crate) interrupted: bool,
    /// The limit of the run, if that is what ended it, seconds.
    pub(crate) overdue_after: Option<f64>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) opened: Opened,
    pub(crate) settled: Settled,
    pub(crate) pushing: Option<Pushing>,
    pub(crate) server: Server,
    pub(crate) readings: Readings,
    pub(crate) own: Own,
}

/// The pushes of a run and what they took.
#[derive(Debug)]
pub(crate) struct Pushing {
    pub(crate) pushed: Pushed,
    pub(crate) size_bytes: u64,
    /// CPU time of the pushing thread, nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// What only some scenarios find.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) rooms: Option<RoomFindings>,
    /// Whether members came and went by themselves.
    pub(crate) day: bool,
    pub(crate) storms: Vec<Stormed>,
    /// With the CPU time that the server's processes spent on it, milliseconds.
    pub(crate) churned: Option<(Churned, Option<u64>)>,
    pub(crate) growth: Option<Growth>,
    /// The kernel's memory before the first connection and with all.
    pub(crate) kernel: Option<(Kernel, Kernel)>,
}

#[derive(Debug)]
pub(crate) struct RoomFindings {
    pub(crate) crowd: Crowd,
    /// Members of the largest rooms, where they stay.
    pub(crate) members: Option<Vec<u64>>,
}

impl Report {
    pub(crate) fn new(findings: &Findings) -> Self {
        let Findings {
            settled,
            pushing,
            own,
            ..
        } = findings;
        let deliveries = pushing
            .as_ref()
            .map(|pushing| Deliveries::new(&pushing.pushed, settled));
        let received = settled.received();
        let mut report = Self {
            scenario: findings.scenario,
            run: format!("{:016x}", findings.run),
            ok: false,
            problems: Vec::new(),
            interrupted: findings.interrupted,
            expectations: Vec::new(),
            connections: Connections::new(findings),
            heartbeats: Heartbeats::new(settled),
            pushes: pushing.as_ref().map(Pushes::new),
            rooms: own
                .rooms
                .as_ref()
                .map(|rooms| RoomsReport::new(rooms, settled, pushing.as_ref())),
            turnover: own.day.then(|| TurnoverReport::new(&settled.turnover)),
            slow: own.day.then(|| SlowReport::new(&settled.slow)),
            storms: own.storms.iter().map(StormReport::new).collect(),
            churn: own
                .churned
                .as_ref()
                .map(|(churned, cpu_ms)| ChurnReport::new(churned, *cpu_ms)),
            growth: own.growth.clone(),
            memory: own
                .kernel
                .as_ref()
                .and_then(|(before, after)| Memory::new(findings, before, after)),
            server: ServerUse::new(findings, received),
            tool: ToolUse::new(findings, received),
            deliveries,
        };
        let judged = |expected: &Expectation| expected.judge(&report);
        report.expectations = findings.expectations.iter().map(judged).collect();
        report.problems = problems::find(&report, findings);
        report.ok = report.problems.is_empty();
        report
    }

    /// Connections that could not be opened, whenever that was tried.
    pub(crate) fn connect_failures(&self) -> u64 {
        let turnover = self.turnover.as_ref();
        let churn = self.churn.as_ref();
        [
            Some(&self.connections.failures),
            turnover.map(|turnover| &turnover.connect_failures),
            churn.map(|churn| &churn.failures),
        ]
        .into_iter()
        .flatten()
        .flat_map(|failures| failures.values())
        .sum()
    }

    /// A sum over all storms, if there were any.
    pub(crate) fn over_storms(&self, of: impl Fn(&StormReport) -> u64) -> Option<u64> {
        (!self.storms.is_empty()).then(|| self.storms.iter().map(of).sum())
    }
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    as_f64(to_ns.saturating_sub(from_ns)) / 1e9
}

fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        as_f64(count) / seconds
    } else {
        0.0
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; exact below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
