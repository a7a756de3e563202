//! What a run found, with the names that `--json` prints. `docs/stress.md` explains each field.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Verdict;
use crate::latency::Summary;
use crate::messages::{Opened, Settled};
use crate::pusher::Pushed;
use crate::server::{Reading, Server, bytes_per_connection};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// Identifies the run in every message, key and room of it.
    pub(crate) run: String,
    pub(crate) ok: bool,
    /// Why the run is not ok.
    pub(crate) problems: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) connections: Connections,
    pub(crate) heartbeats: Heartbeats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pushes: Option<Pushes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliveries: Option<Deliveries>,
    pub(crate) server: ServerUse,
    pub(crate) tool: ToolUse,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connections {
    pub(crate) transport: String,
    pub(crate) wanted: u64,
    pub(crate) ready: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) handshake: Summary,
    pub(crate) disconnects: BTreeMap<String, u64>,
    pub(crate) goodbyes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Heartbeats {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) round_trip: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pushes {
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) size_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) answer: Summary,
    pub(crate) lag: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deliveries {
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) members_with_loss: u64,
    pub(crate) misrouted: u64,
    pub(crate) corrupt: u64,
    pub(crate) foreign: u64,
    pub(crate) per_second: f64,
    pub(crate) latency: Summary,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) pids: Vec<u32>,
    pub(crate) rss_before_bytes: Option<u64>,
    pub(crate) rss_connected_bytes: Option<u64>,
    pub(crate) rss_end_bytes: Option<u64>,
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) bytes_per_connection_end: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) cpu_seconds_per_million: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ToolUse {
    pub(crate) workers: u64,
    pub(crate) receive_cpu_ns_per_delivery: Option<f64>,
    pub(crate) deliveries_per_read: Option<f64>,
    pub(crate) push_cpu_us_per_push: Option<f64>,
}

/// Readings of the server's processes at the borders of the phases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    pub(crate) before: Option<Reading>,
    pub(crate) connected: Option<Reading>,
    pub(crate) end: Option<Reading>,
}

/// Everything a scenario brings home.
pub(crate) struct Findings {
    pub(crate) scenario: &'static str,
    pub(crate) run: u64,
    pub(crate) transport: String,
    pub(crate) wanted: u64,
    pub(crate) workers: u64,
    pub(crate) interrupted: bool,
    pub(crate) opened: Opened,
    pub(crate) settled: Settled,
    /// The pushes, the length of their bodies, and the CPU time of the pushing thread in nanoseconds.
    pub(crate) pushed: Option<(Pushed, u64, u64)>,
    pub(crate) server: Server,
    pub(crate) readings: Readings,
}

impl Report {
    pub(crate) fn new(findings: &Findings) -> Self {
        let Findings {
            opened, settled, ..
        } = findings;
        let connections = Connections {
            transport: findings.transport.clone(),
            wanted: findings.wanted,
            ready: opened.ready,
            failures: opened.failures.clone(),
            seconds: seconds(opened.started_ns, opened.finished_ns),
            per_second: ratio(opened.ready, seconds(opened.started_ns, opened.finished_ns)),
            handshake: opened.handshake.summary(),
            disconnects: settled.disconnects.clone(),
            goodbyes: settled.goodbyes,
        };
        let heartbeats = Heartbeats {
            sent: settled.heartbeats_sent,
            answered: settled.heartbeats_answered,
            round_trip: settled.heartbeat.summary(),
        };
        let pushes = findings
            .pushed
            .as_ref()
            .map(|(pushed, size_bytes, _)| pushes(pushed, *size_bytes));
        let deliveries = findings
            .pushed
            .as_ref()
            .map(|(pushed, ..)| deliveries(pushed, settled));
        let problems = problems(
            &connections,
            &heartbeats,
            pushes.as_ref(),
            deliveries.as_ref(),
            findings.interrupted,
        );
        Self {
            scenario: findings.scenario,
            run: format!("{:016x}", findings.run),
            ok: problems.is_empty(),
            problems,
            interrupted: findings.interrupted,
            connections,
            heartbeats,
            server: server_use(findings, deliveries.as_ref()),
            tool: tool_use(findings, deliveries.as_ref()),
            pushes,
            deliveries,
        }
    }
}

fn pushes(pushed: &Pushed, size_bytes: u64) -> Pushes {
    let seconds = seconds(pushed.started_ns, pushed.last_sent_ns);
    Pushes {
        planned: pushed.planned,
        sent: pushed.sent,
        accepted: pushed.outcomes.accepted,
        refused: pushed.outcomes.refused.clone(),
        errors: pushed.outcomes.errors.clone(),
        size_bytes,
        seconds,
        // n pushes have n - 1 gaps between them.
        per_second: ratio(pushed.sent.saturating_sub(1), seconds),
        answer: pushed.answer.summary(),
        lag: pushed.lag.summary(),
    }
}

fn deliveries(pushed: &Pushed, settled: &Settled) -> Deliveries {
    Deliveries {
        verdict: settled.verdict,
        members_with_loss: settled.members_with_loss,
        misrouted: settled.misrouted,
        corrupt: settled.corrupt,
        foreign: settled.foreign,
        per_second: ratio(
            settled.latency.count(),
            seconds(pushed.started_ns, settled.last_message_ns),
        ),
        latency: settled.latency.summary(),
    }
}

fn server_use(findings: &Findings, deliveries: Option<&Deliveries>) -> ServerUse {
    let Readings {
        before,
        connected,
        end,
    } = findings.readings;
    let per_connection =
        |later: Option<Reading>| bytes_per_connection(before?, later?, findings.opened.ready);
    let cpu_ms = connected
        .zip(end)
        .map(|(from, to)| to.cpu_ms.saturating_sub(from.cpu_ms));
    let cpu_seconds = cpu_ms.map(|ms| as_f64(ms) / 1e3);
    let received = deliveries.map_or(0, |deliveries| deliveries.latency.count);
    ServerUse {
        pids: findings.server.pids().to_vec(),
        rss_before_bytes: before.map(|reading| reading.rss_bytes),
        rss_connected_bytes: connected.map(|reading| reading.rss_bytes),
        rss_end_bytes: end.map(|reading| reading.rss_bytes),
        bytes_per_connection: per_connection(connected),
        bytes_per_connection_end: per_connection(end),
        cpu_seconds,
        cpu_seconds_per_million: cpu_seconds
            .filter(|_| received > 0)
            .map(|seconds| seconds * 1e6 / as_f64(received)),
    }
}

fn tool_use(findings: &Findings, deliveries: Option<&Deliveries>) -> ToolUse {
    let settled = &findings.settled;
    let received = deliveries.map_or(0, |deliveries| {
        deliveries.latency.count + deliveries.verdict.duplicated
    });
    let per = |total: u64, count: u64| (count > 0).then(|| as_f64(total) / as_f64(count));
    ToolUse {
        workers: findings.workers,
        receive_cpu_ns_per_delivery: per(settled.receive_cpu_ns, received),
        deliveries_per_read: per(received, settled.reads).filter(|_| received > 0),
        push_cpu_us_per_push: findings
            .pushed
            .as_ref()
            .and_then(|(pushed, _, cpu_ns)| per(*cpu_ns, pushed.sent))
            .map(|ns| ns / 1e3),
    }
}

/// Every reason for which a run is not ok.
fn problems(
    connections: &Connections,
    heartbeats: &Heartbeats,
    pushes: Option<&Pushes>,
    deliveries: Option<&Deliveries>,
    interrupted: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut found = |count: u64, what: &str| {
        if count > 0 {
            problems.push(format!("{count} {what}"));
        }
    };
    found(connections.failures.values().sum(), "connections failed");
    if !interrupted {
        let failed: u64 = connections.failures.values().sum();
        found(
            connections
                .wanted
                .saturating_sub(connections.ready + failed),
            "connections were not tried",
        );
    }
    found(
        connections.disconnects.values().sum(),
        "connections were lost",
    );
    if connections.disconnects.is_empty() {
        found(
            heartbeats.sent.saturating_sub(heartbeats.answered),
            "heartbeats were not answered",
        );
    }
    if let Some(pushes) = pushes {
        found(pushes.errors.values().sum(), "pushes failed");
        if !interrupted {
            found(
                pushes.planned.saturating_sub(pushes.sent),
                "pushes could not be sent in time",
            );
        }
        found(
            u64::from(pushes.accepted == 0),
            "runs without any accepted push",
        );
    }
    if let Some(deliveries) = deliveries {
        let verdict = &deliveries.verdict;
        found(verdict.lost, "deliveries were lost");
        found(verdict.duplicated, "deliveries came again");
        found(verdict.reordered, "deliveries came out of order");
        found(verdict.unexpected, "deliveries came of refused pushes");
        found(deliveries.misrouted, "deliveries went to another user");
        found(deliveries.corrupt, "deliveries were damaged");
    }
    problems
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
