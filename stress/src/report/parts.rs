//! The parts of the report, each made of what the workers and the pusher counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Findings, Pushing, RoomFindings, as_f64, ratio, seconds};
use crate::account::Verdict;
use crate::latency::Summary;
use crate::messages::{Churned, Settled, Slow, Stormed, Turnover};
use crate::pusher::Pushed;

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
    /// Connections that were open at the end.
    pub(crate) open: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Heartbeats {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) abandoned: u64,
    pub(crate) lost: u64,
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

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoomsReport {
    pub(crate) count: u32,
    pub(crate) exponent: f64,
    /// Rooms of which a member lost something.
    pub(crate) with_loss: u64,
    pub(crate) largest: Vec<RoomReport>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoomReport {
    pub(crate) room: u32,
    /// `null` where members come and go.
    pub(crate) members: Option<u64>,
    pub(crate) pushes: u64,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TurnoverReport {
    pub(crate) connects: u64,
    pub(crate) connect_failures: BTreeMap<String, u64>,
    pub(crate) disconnects: u64,
    pub(crate) changes_sent: u64,
    pub(crate) changes_answered: u64,
    pub(crate) changes_abandoned: u64,
    pub(crate) skipped: u64,
    /// How long before they left members need not have received what was pushed.
    pub(crate) grace_seconds: f64,
    pub(crate) handshake: Summary,
    pub(crate) change: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlowReport {
    pub(crate) members: u64,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) disconnects: BTreeMap<String, u64>,
    pub(crate) latency: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StormReport {
    pub(crate) dropped: u64,
    pub(crate) ready: u64,
    /// Until the last one was ready again; `null` if not all were.
    pub(crate) seconds: Option<f64>,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) recovery: Summary,
    pub(crate) handshake: Summary,
    pub(crate) heartbeat_calm: Summary,
    pub(crate) heartbeat_storm: Summary,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChurnReport {
    pub(crate) connects: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) login: Summary,
    /// CPU time of the server, for everything that it did meanwhile.
    pub(crate) cpu_us_per_connect: Option<f64>,
}

/// Whether the server's processes grow; each figure is `null` when they cannot be read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Growth {
    pub(crate) warm_up_seconds: f64,
    /// From the first to the last sample that counts.
    pub(crate) seconds: f64,
    pub(crate) samples: u64,
    pub(crate) bytes_per_hour: Option<f64>,
    pub(crate) files_per_hour: Option<f64>,
    /// What is allowed; `null` when the run is not judged by it.
    pub(crate) bytes_per_hour_max: Option<f64>,
}

impl Connections {
    pub(super) fn new(findings: &Findings) -> Self {
        let Findings {
            opened, settled, ..
        } = findings;
        let seconds = seconds(opened.started_ns, opened.finished_ns);
        Self {
            transport: findings.transport.clone(),
            wanted: findings.wanted,
            ready: opened.ready,
            failures: opened.failures.clone(),
            seconds,
            per_second: ratio(opened.ready, seconds),
            handshake: opened.handshake.summary(),
            disconnects: settled.disconnects.clone(),
            goodbyes: settled.goodbyes,
            open: settled.open,
        }
    }
}

impl Heartbeats {
    pub(super) fn new(settled: &Settled) -> Self {
        Self {
            sent: settled.heartbeats_sent,
            answered: settled.heartbeats_answered,
            abandoned: settled.heartbeats_abandoned,
            lost: settled.heartbeats_lost,
            round_trip: settled.heartbeat.summary(),
        }
    }

    pub(crate) fn unanswered(&self) -> u64 {
        let ended = self.answered + self.abandoned + self.lost;
        self.sent.saturating_sub(ended)
    }
}

impl Pushes {
    pub(super) fn new(pushing: &Pushing) -> Self {
        let pushed = &pushing.pushed;
        let seconds = seconds(pushed.started_ns, pushed.last_sent_ns);
        Self {
            planned: pushed.planned,
            sent: pushed.sent,
            accepted: pushed.outcomes.accepted,
            refused: pushed.outcomes.refused.clone(),
            errors: pushed.outcomes.errors.clone(),
            size_bytes: pushing.size_bytes,
            seconds,
            // n pushes have n - 1 gaps between them.
            per_second: ratio(pushed.sent.saturating_sub(1), seconds),
            answer: pushed.answer.summary(),
            lag: pushed.lag.summary(),
        }
    }

    pub(crate) fn unsent(&self) -> u64 {
        self.planned.saturating_sub(self.sent)
    }
}

impl Deliveries {
    pub(super) fn new(pushed: &Pushed, settled: &Settled) -> Self {
        Self {
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
}

impl RoomsReport {
    pub(super) fn new(found: &RoomFindings, settled: &Settled, pushing: Option<&Pushing>) -> Self {
        let pushes = |room: u32| {
            let stream = pushing.and_then(|pushing| pushing.pushed.streams.get(&room));
            stream.map_or(0, |stream| stream.sent.into())
        };
        let members = |room: u32| found.members.as_ref()?.get(room as usize).copied();
        let report = |(room, verdict): (&u32, &Verdict)| RoomReport {
            room: *room,
            members: members(*room),
            pushes: pushes(*room),
            verdict: *verdict,
        };
        Self {
            count: found.crowd.rooms,
            exponent: found.crowd.exponent,
            with_loss: settled.rooms.with_loss.len() as u64,
            largest: settled.rooms.largest.iter().map(report).collect(),
        }
    }
}

impl TurnoverReport {
    pub(super) fn new(found: &Turnover) -> Self {
        Self {
            connects: found.connects,
            connect_failures: found.connect_failures.clone(),
            disconnects: found.disconnects,
            changes_sent: found.changes_sent,
            changes_answered: found.changes_answered,
            changes_abandoned: found.changes_abandoned,
            skipped: found.skipped,
            grace_seconds: seconds(0, found.grace_ns),
            handshake: found.handshake.summary(),
            change: found.change.summary(),
        }
    }

    pub(crate) fn unanswered(&self) -> u64 {
        let ended = self.changes_answered + self.changes_abandoned;
        self.changes_sent.saturating_sub(ended)
    }
}

impl SlowReport {
    pub(super) fn new(found: &Slow) -> Self {
        Self {
            members: found.members,
            verdict: found.verdict,
            disconnects: found.disconnects.clone(),
            latency: found.latency.summary(),
        }
    }
}

impl StormReport {
    pub(super) fn new(found: &Stormed) -> Self {
        Self {
            dropped: found.dropped,
            ready: found.ready,
            seconds: (found.dropped > 0 && found.ready == found.dropped)
                .then(|| seconds(found.started_ns, found.finished_ns)),
            refused: found.refused.clone(),
            recovery: found.recovery.summary(),
            handshake: found.handshake.summary(),
            heartbeat_calm: found.calm.summary(),
            heartbeat_storm: found.during.summary(),
        }
    }

    /// Connections that found no way back.
    pub(crate) fn stranded(&self) -> u64 {
        self.dropped.saturating_sub(self.ready)
    }
}

impl ChurnReport {
    pub(super) fn new(found: &Churned, cpu_ms: Option<u64>) -> Self {
        let seconds = seconds(found.started_ns, found.finished_ns);
        Self {
            connects: found.connects,
            failures: found.failures.clone(),
            seconds,
            per_second: ratio(found.connects, seconds),
            login: found.login.summary(),
            cpu_us_per_connect: cpu_ms
                .filter(|_| found.connects > 0)
                .map(|ms| as_f64(ms) * 1e3 / as_f64(found.connects)),
        }
    }
}
