//! What coordinator and workers say to each other: one JSON value per line, over the worker's stdin and stdout or,
//! when one process is enough, over a pipe within it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::account::{StreamSummary, Verdict};
use crate::latency::Latency;

/// To a worker. `Open` comes first and once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Open connections; answered by `Opened` when each is ready or has failed.
    Open(Box<Plan>),
    /// Open no further connections.
    Halt,
    /// Messages come from here on; answered by `Begun`.
    Begin,
    /// All messages are sent: wait for stragglers and answer with `Settled`.
    Settle {
        /// What was sent, per stream that this worker's members receive.
        streams: BTreeMap<u32, StreamSummary>,
        /// How long to wait for stragglers, milliseconds.
        within_ms: u64,
    },
}

/// From a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Progress(Progress),
    Opened(Box<Opened>),
    Begun,
    Settled(Box<Settled>),
    /// The worker cannot do its job.
    Failed(String),
}

/// The members of one worker: which, where and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) run: u64,
    /// Number of the first member.
    pub(crate) first: u32,
    pub(crate) members: u32,
    pub(crate) transport: TransportMix,
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: WebsocketTarget,
    /// Connections opened per second.
    pub(crate) connect_rate: f64,
    /// Deadline from connect to the first heartbeat's answer, milliseconds.
    pub(crate) connect_timeout_ms: u64,
    pub(crate) heartbeat_ms: u64,
    /// Loopback addresses to connect from; 0 leaves the choice to the kernel.
    pub(crate) sources: u32,
    /// Receiving threads.
    pub(crate) threads: u32,
    /// The operation of the pushes, which every member accepts.
    pub(crate) operation: i32,
    /// Length of every pushed body, bytes.
    pub(crate) size_bytes: usize,
    /// Members per room; 0 puts all into one.
    pub(crate) room_members: u32,
    /// Whether every member has a stream of its own, or all share stream 0.
    pub(crate) own_streams: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TransportMix {
    /// Raw TCP.
    Tcp,
    /// WebSocket.
    Ws,
    /// Both in turns.
    Mixed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebsocketTarget {
    pub(crate) address: SocketAddr,
    /// For the handshake's Host header.
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// goim's convention for room ids is `type://id`; this is the tool's type.
pub(crate) const ROOM_TYPE: &str = "stress";

impl Plan {
    /// The name of a member's connection.
    pub(crate) fn key(run: u64, member: u32) -> String {
        format!("{run:016x}-{member}")
    }

    /// The user id of a member: positive, and not that of another run.
    pub(crate) fn mid(run: u64, member: u32) -> i64 {
        let run = i64::try_from(run >> 33).unwrap_or(0);
        (run << 32) + i64::from(member) + 1
    }

    /// The number of a member's room, without its type.
    pub(crate) fn room(run: u64, member: u32, room_members: u32) -> String {
        format!(
            "{run:016x}-{}",
            member.checked_div(room_members).unwrap_or(0)
        )
    }

    pub(crate) fn uses_websocket(&self, member: u32) -> bool {
        match self.transport {
            TransportMix::Tcp => false,
            TransportMix::Ws => true,
            TransportMix::Mixed => member % 2 == 1,
        }
    }

    pub(crate) fn stream(&self, member: u32) -> u32 {
        if self.own_streams { member } else { 0 }
    }

    /// The address a member connects from. A source address has some 28,000 ports per destination.
    pub(crate) fn source(&self, member: u32) -> Option<Ipv4Addr> {
        let place = member.checked_rem(self.sources)?;
        let [_, high, middle, low] = (place + 1).to_be_bytes();
        // 127.0.0.1 itself stays free for everything else on the machine.
        Some(Ipv4Addr::new(127, 101 + high % 100, middle, low))
    }
}

/// How things stand, for the progress bar.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) ready: u64,
    pub(crate) failed: u64,
    pub(crate) received: u64,
}

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

/// The result of receiving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settled {
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
}

impl Opened {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.ready += other.ready;
        add_counts(&mut self.failures, &other.failures);
        self.started_ns = match self.started_ns {
            0 => other.started_ns,
            started_ns => started_ns.min(other.started_ns),
        };
        self.finished_ns = self.finished_ns.max(other.finished_ns);
        self.handshake.merge(&other.handshake);
    }
}

impl Settled {
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
        self.heartbeat.merge(&other.heartbeat);
        add_counts(&mut self.disconnects, &other.disconnects);
        self.open += other.open;
        self.receive_cpu_ns += other.receive_cpu_ns;
        self.reads += other.reads;
        self.last_message_ns = self.last_message_ns.max(other.last_message_ns);
    }
}

pub(crate) fn add_counts(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (kind, count) in from {
        *to.entry(kind.clone()).or_default() += count;
    }
}
