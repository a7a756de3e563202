//! What a worker found. All of it adds up over workers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::account::Verdict;
use crate::latency::Latency;

/// The result of opening. Times are on the machine's monotonic clock, nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) ready: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) started_ns: u64,
    pub(crate) finished_ns: u64,
    /// From the connect to the login's answer.
    pub(crate) handshake: Latency,
}

/// The result of a storm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stormed {
    /// Connections that were dropped.
    pub(crate) dropped: u64,
    /// Of those, how many became ready again.
    pub(crate) ready: u64,
    /// Tries that failed, by cause.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) started_ns: u64,
    /// When the last one was ready again.
    pub(crate) finished_ns: u64,
    /// From the drop to being ready again.
    pub(crate) recovery: Latency,
    /// From the connect of a try to its login's answer.
    pub(crate) handshake: Latency,
    /// Round trips of heartbeats of those that stayed, since the last storm.
    pub(crate) calm: Latency,
    /// The same, during the storm.
    pub(crate) during: Latency,
}

/// The result of connecting again and again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Churned {
    pub(crate) connects: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) started_ns: u64,
    pub(crate) finished_ns: u64,
    /// From when a connection was due to its login's answer.
    pub(crate) login: Latency,
}

/// The result of receiving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Of all members but the slow ones.
    pub(crate) verdict: Verdict,
    pub(crate) members_with_loss: u64,
    /// Messages of this run for another stream.
    pub(crate) misrouted: u64,
    /// Messages of this run with a wrong length or sequence number.
    pub(crate) corrupt: u64,
    /// Messages of the operation that are not from this run.
    pub(crate) foreign: u64,
    /// Goodbyes of the server (op 6).
    pub(crate) goodbyes: u64,
    pub(crate) latency: Latency,
    pub(crate) heartbeats_sent: u64,
    pub(crate) heartbeats_answered: u64,
    /// Heartbeats whose connection the tool itself closed before the answer came.
    pub(crate) heartbeats_abandoned: u64,
    /// Heartbeats that a lost connection left without an answer.
    pub(crate) heartbeats_lost: u64,
    pub(crate) heartbeat: Latency,
    /// Connections that ended after they were ready, by cause.
    pub(crate) disconnects: BTreeMap<String, u64>,
    /// Connections that are still open.
    pub(crate) open: u64,
    /// CPU time of the receiving threads since `Begin`, nanoseconds.
    pub(crate) receive_cpu_ns: u64,
    /// Reads since the start.
    pub(crate) reads: u64,
    /// When the last message came, or 0.
    pub(crate) last_message_ns: u64,
    pub(crate) rooms: Rooms,
    pub(crate) turnover: Turnover,
    pub(crate) slow: Slow,
}

/// Single rooms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rooms {
    /// The accounts of the first few rooms, which are the largest.
    pub(crate) largest: BTreeMap<u32, Verdict>,
    /// Rooms of which a member lost something.
    pub(crate) with_loss: BTreeSet<u32>,
}

/// What members did by themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Turnover {
    pub(crate) connects: u64,
    pub(crate) connect_failures: BTreeMap<String, u64>,
    pub(crate) disconnects: u64,
    pub(crate) changes_sent: u64,
    pub(crate) changes_answered: u64,
    /// Changes whose connection ended before the answer came.
    pub(crate) changes_abandoned: u64,
    /// What was due while no member was fit for it.
    pub(crate) skipped: u64,
    /// From when a connection was due to its login's answer.
    pub(crate) handshake: Latency,
    /// From a room change to its answer.
    pub(crate) change: Latency,
    /// How long before they left members need not have received what was pushed.
    pub(crate) grace_ns: u64,
}

/// Members that read late.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) members: u64,
    pub(crate) verdict: Verdict,
    pub(crate) disconnects: BTreeMap<String, u64>,
    pub(crate) latency: Latency,
}

impl Opened {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.ready += other.ready;
        add_counts(&mut self.failures, &other.failures);
        self.started_ns = earlier(self.started_ns, other.started_ns);
        self.finished_ns = self.finished_ns.max(other.finished_ns);
        self.handshake.merge(&other.handshake);
    }
}

impl Stormed {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.ready += other.ready;
        add_counts(&mut self.refused, &other.refused);
        self.started_ns = earlier(self.started_ns, other.started_ns);
        self.finished_ns = self.finished_ns.max(other.finished_ns);
        self.recovery.merge(&other.recovery);
        self.handshake.merge(&other.handshake);
        self.calm.merge(&other.calm);
        self.during.merge(&other.during);
    }
}

impl Churned {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connects += other.connects;
        add_counts(&mut self.failures, &other.failures);
        self.started_ns = earlier(self.started_ns, other.started_ns);
        self.finished_ns = self.finished_ns.max(other.finished_ns);
        self.login.merge(&other.login);
    }
}

impl Settled {
    /// Messages that arrived, whoever received them and however often.
    pub(crate) fn received(&self) -> u64 {
        let arrived = |latency: &Latency, verdict: &Verdict| latency.count() + verdict.duplicated;
        arrived(&self.latency, &self.verdict) + arrived(&self.slow.latency, &self.slow.verdict)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.verdict += other.verdict;
        self.members_with_loss += other.members_with_loss;
        self.misrouted += other.misrouted;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.goodbyes += other.goodbyes;
        self.latency.merge(&other.latency);
        self.heartbeats_sent += other.heartbeats_sent;
        self.heartbeats_answered += other.heartbeats_answered;
        self.heartbeats_abandoned += other.heartbeats_abandoned;
        self.heartbeats_lost += other.heartbeats_lost;
        self.heartbeat.merge(&other.heartbeat);
        add_counts(&mut self.disconnects, &other.disconnects);
        self.open += other.open;
        self.receive_cpu_ns += other.receive_cpu_ns;
        self.reads += other.reads;
        self.last_message_ns = self.last_message_ns.max(other.last_message_ns);
        self.rooms.merge(&other.rooms);
        self.turnover.merge(&other.turnover);
        self.slow.merge(&other.slow);
    }
}

impl Rooms {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (room, verdict) in &other.largest {
            *self.largest.entry(*room).or_default() += *verdict;
        }
        self.with_loss.extend(&other.with_loss);
    }
}

impl Turnover {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connects += other.connects;
        add_counts(&mut self.connect_failures, &other.connect_failures);
        self.disconnects += other.disconnects;
        self.changes_sent += other.changes_sent;
        self.changes_answered += other.changes_answered;
        self.changes_abandoned += other.changes_abandoned;
        self.skipped += other.skipped;
        self.handshake.merge(&other.handshake);
        self.change.merge(&other.change);
        self.grace_ns = self.grace_ns.max(other.grace_ns);
    }
}

impl Slow {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.members += other.members;
        self.verdict += other.verdict;
        add_counts(&mut self.disconnects, &other.disconnects);
        self.latency.merge(&other.latency);
    }
}

/// The earlier of two moments, of which 0 is none.
fn earlier(one_ns: u64, other_ns: u64) -> u64 {
    match one_ns {
        0 => other_ns,
        _ if other_ns == 0 => one_ns,
        _ => one_ns.min(other_ns),
    }
}

pub(crate) fn add_counts(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (kind, count) in from {
        *to.entry(kind.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: u64) -> Latency {
        let mut latency = Latency::default();
        for _ in 0..count {
            latency.record_ns(1_000_000);
        }
        latency
    }

    #[test]
    fn what_slow_members_receive_counts_as_well() {
        let again = |duplicated| Verdict {
            duplicated,
            ..Verdict::default()
        };
        let settled = Settled {
            verdict: again(2),
            latency: times(10),
            slow: Slow {
                verdict: again(1),
                latency: times(7),
                ..Slow::default()
            },
            ..Settled::default()
        };

        assert_eq!(settled.received(), 20);
    }
}
