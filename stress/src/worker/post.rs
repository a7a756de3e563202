//! One receiving thread's members and tallies.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use halley_wire::{Header, Op, packet, ws};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::churn::Churning;
use super::member::{Member, Stage};
use super::storm::Storming;
use crate::clock::{now_ns, thread_cpu_ns};
use crate::latency::Latency;
use crate::messages::{Churn, Plan, Slow, Times, Turnover};
use crate::zipf::Zipf;

/// First size of the buffer that all connections of a thread read into, bytes.
const SCRATCH_BYTES: usize = 256 * 1024;
/// How often due heartbeats are sent.
const HEARTBEAT_TICK: Duration = Duration::from_millis(20);

/// Shared by the connections of one thread. The lock is taken once per read and is free but for a glance of the
/// coordinator now and then.
pub(super) struct Post {
    pub(super) plan: Arc<Plan>,
    pub(super) thread: u32,
    pub(super) tls: Option<TlsConnector>,
    /// Of the plan's crowd.
    pub(super) zipf: Option<Arc<Zipf>>,
    pub(super) signals: Signals,
    /// Connections that connect again and again, when there are to be some.
    pub(super) churn: watch::Sender<Option<Churn>>,
    /// Limits how many connections are being opened, but for storms.
    pub(super) opening: Arc<Semaphore>,
    pub(super) state: Mutex<State>,
    heartbeat_tcp: Vec<u8>,
    heartbeat_websocket: Vec<u8>,
}

/// What the coordinator wants of all threads.
#[derive(Clone, Default)]
pub(super) struct Signals {
    /// Open no further connections.
    pub(super) halted: CancellationToken,
    /// Messages come from here on.
    pub(super) begun: CancellationToken,
    /// All messages are sent.
    pub(super) settling: CancellationToken,
}

pub(super) struct State {
    pub(super) scratch: Vec<u8>,
    pub(super) members: Vec<Member>,
    pub(super) tally: Tally,
    pub(super) storm: Option<Storming>,
    pub(super) churn: Option<Churning>,
}

#[derive(Default)]
pub(super) struct Tally {
    /// Members whose opening began.
    pub(super) started: u64,
    /// Members whose opening ended, well or not.
    pub(super) attempted: u64,
    /// Whether the other members are given up.
    pub(super) halted: bool,
    pub(super) ready: u64,
    /// Connections that are ready now.
    pub(super) open: u64,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) disconnects: BTreeMap<String, u64>,
    pub(super) opened_ns: u64,
    /// Of the current interval.
    pub(super) times: Times<Latency>,
    /// Round trips of heartbeats of those that stay when others are dropped, since the last storm.
    pub(super) stayers: Latency,
    /// Whether all members have been opened: later handshakes are those of members that come back.
    pub(super) begun: bool,
    /// Later handshakes, since the last storm.
    pub(super) later: Latency,
    pub(super) heartbeats_sent: u64,
    pub(super) heartbeats_answered: u64,
    pub(super) heartbeats_abandoned: u64,
    pub(super) heartbeats_lost: u64,
    pub(super) misrouted: u64,
    pub(super) corrupt: u64,
    pub(super) foreign: u64,
    pub(super) goodbyes: u64,
    pub(super) reads: u64,
    pub(super) last_message_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) cpu_at_begin_ns: u64,
    pub(super) turnover: Turnover,
    pub(super) slow: Slow,
}

impl Post {
    /// The members of thread `thread`: every n-th of the plan.
    pub(super) fn new(
        plan: Arc<Plan>,
        thread: u32,
        tls: Option<TlsConnector>,
        zipf: Option<Arc<Zipf>>,
        signals: Signals,
    ) -> Self {
        let stride = usize::try_from(plan.threads.max(1)).unwrap_or(1);
        let members = (plan.first..plan.first.saturating_add(plan.members))
            .skip(thread as usize)
            .step_by(stride)
            .map(|number| Member::new(&plan, number, zipf.as_deref()))
            .collect();
        let header = Header {
            ver: 1,
            op: Op::HEARTBEAT,
            seq: 1,
        };
        let mut heartbeat_tcp = Vec::new();
        packet::encode(&mut heartbeat_tcp, header, b"");
        let opening = plan.opening.max(1) as usize;
        Self {
            plan,
            thread,
            tls,
            zipf,
            signals,
            churn: watch::Sender::default(),
            opening: Arc::new(Semaphore::new(opening)),
            state: Mutex::new(State {
                scratch: vec![0; SCRATCH_BYTES],
                members,
                tally: Tally::default(),
                storm: None,
                churn: None,
            }),
            heartbeat_websocket: masked(&heartbeat_tcp),
            heartbeat_tcp,
        }
    }

    /// Sends a member's heartbeat, unless too many wait for their answers.
    pub(super) fn send_heartbeat(&self, slot: usize) -> io::Result<()> {
        let state = &mut *self.state.lock();
        let member = &mut state.members[slot];
        if member.beats.is_full() {
            return Ok(());
        }
        let frame = if member.websocket {
            &self.heartbeat_websocket
        } else {
            &self.heartbeat_tcp
        };
        let sent_ns = now_ns();
        member.write(frame)?;
        state.tally.heartbeats_sent += 1;
        member.beats.sent(sent_ns);
        Ok(())
    }

    /// Spreads the heartbeats of all ready members evenly over the interval, and notes the thread's CPU time. At the
    /// end of a run no more are sent, so that none is under way when it is added up.
    pub(super) async fn keep_alive(&self) {
        let members = self.state.lock().members.len();
        let interval_ns = self.plan.heartbeat_ms.max(1) * 1_000_000;
        let (mut slot, mut last_ns, mut owed_ns) = (0, now_ns(), 0);
        let gap_ns = (interval_ns / (members as u64).max(1)).max(1);
        loop {
            tokio::time::sleep(HEARTBEAT_TICK).await;
            self.state.lock().tally.cpu_ns = thread_cpu_ns();
            if self.signals.settling.is_cancelled() {
                continue;
            }
            let now = now_ns();
            // After a stall at most one round is made up for.
            owed_ns = (owed_ns + now - last_ns).min(interval_ns);
            last_ns = now;
            while members > 0 && owed_ns >= gap_ns {
                owed_ns -= gap_ns;
                if self.state.lock().members[slot].stage == Stage::Ready {
                    // A full or dead socket shows as an unanswered heartbeat or as a disconnect.
                    let _ = self.send_heartbeat(slot);
                }
                slot = (slot + 1) % members;
            }
        }
    }
}

/// A packet as a client sends it over WebSocket.
pub(super) fn masked(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ws::encode_masked(&mut frame, ws::Opcode::Binary, packet, rand::random());
    frame
}
