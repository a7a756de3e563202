//! One receiving thread's members and tallies.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use halley_wire::{Header, Op, packet, ws};
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;

use super::inbound::Inbound;
use crate::account::Tracker;
use crate::clock::{now_ns, thread_cpu_ns};
use crate::latency::Latency;
use crate::messages::Plan;

/// First size of the buffer that all connections of a thread read into, bytes.
const SCRATCH_BYTES: usize = 256 * 1024;
/// How often due heartbeats are sent.
const HEARTBEAT_TICK: Duration = Duration::from_millis(20);

/// Shared by the connections of one thread. The lock is taken once per read and is free but for a glance of the
/// coordinator now and then.
pub(super) struct Post {
    pub(super) plan: Arc<Plan>,
    pub(super) halted: CancellationToken,
    pub(super) state: Mutex<State>,
    heartbeat_tcp: Vec<u8>,
    heartbeat_websocket: Vec<u8>,
}

pub(super) struct State {
    pub(super) scratch: Vec<u8>,
    pub(super) members: Vec<Member>,
    pub(super) tally: Tally,
}

/// One connection.
pub(super) struct Member {
    /// Its number in the whole run.
    pub(super) number: u32,
    pub(super) stream: u32,
    pub(super) websocket: bool,
    pub(super) stage: Stage,
    /// Whether it ever was ready: only then is it expected to receive.
    pub(super) was_ready: bool,
    pub(super) writer: Option<Arc<OwnedWriteHalf>>,
    pub(super) inbound: Inbound,
    pub(super) tracker: Tracker,
    pub(super) connect_ns: u64,
    /// When the unanswered heartbeat was sent, or 0.
    pub(super) heartbeat_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Opening,
    LoggedIn,
    /// A heartbeat was answered: whatever the server does after its login answer is done.
    Ready,
    Gone,
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
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) disconnects: BTreeMap<String, u64>,
    pub(super) opened_ns: u64,
    pub(super) handshake: Latency,
    pub(super) heartbeat: Latency,
    pub(super) heartbeats_sent: u64,
    pub(super) heartbeats_answered: u64,
    pub(super) latency: Latency,
    pub(super) misrouted: u64,
    pub(super) corrupt: u64,
    pub(super) foreign: u64,
    pub(super) goodbyes: u64,
    pub(super) reads: u64,
    pub(super) last_message_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) cpu_at_begin_ns: u64,
}

impl Post {
    /// The members of thread `thread`: every n-th of the plan.
    pub(super) fn new(plan: Arc<Plan>, thread: u32, halted: CancellationToken) -> Self {
        let stride = usize::try_from(plan.threads.max(1)).unwrap_or(1);
        let members = (plan.first..plan.first.saturating_add(plan.members))
            .skip(thread as usize)
            .step_by(stride)
            .map(|number| Member::new(&plan, number))
            .collect();
        let header = Header {
            ver: 1,
            op: Op::HEARTBEAT,
            seq: 1,
        };
        let mut heartbeat_tcp = Vec::new();
        packet::encode(&mut heartbeat_tcp, header, b"");
        let mut heartbeat_websocket = Vec::new();
        ws::encode_masked(
            &mut heartbeat_websocket,
            ws::Opcode::Binary,
            &heartbeat_tcp,
            rand::random(),
        );
        Self {
            plan,
            halted,
            state: Mutex::new(State {
                scratch: vec![0; SCRATCH_BYTES],
                members,
                tally: Tally::default(),
            }),
            heartbeat_tcp,
            heartbeat_websocket,
        }
    }

    /// Sends a member's heartbeat.
    pub(super) fn send_heartbeat(&self, slot: usize) -> io::Result<()> {
        let state = &mut *self.state.lock();
        let member = &mut state.members[slot];
        let frame = if member.websocket {
            &self.heartbeat_websocket
        } else {
            &self.heartbeat_tcp
        };
        let sent_ns = now_ns();
        member.write(frame)?;
        state.tally.heartbeats_sent += 1;
        // An answer that is still missing keeps its start, so that its round trip is not cut short.
        if member.heartbeat_ns == 0 {
            member.heartbeat_ns = sent_ns;
        }
        Ok(())
    }

    /// Spreads the heartbeats of all ready members evenly over the interval, and notes the thread's CPU time.
    pub(super) async fn keep_alive(&self) {
        let members = self.state.lock().members.len();
        if members == 0 {
            return;
        }
        let interval_ns = self.plan.heartbeat_ms.max(1) * 1_000_000;
        let (mut slot, mut last_ns, mut owed_ns) = (0, now_ns(), 0);
        let gap_ns = (interval_ns / members as u64).max(1);
        loop {
            tokio::time::sleep(HEARTBEAT_TICK).await;
            self.state.lock().tally.cpu_ns = thread_cpu_ns();
            let now = now_ns();
            // After a stall at most one round is made up for.
            owed_ns = (owed_ns + now - last_ns).min(interval_ns);
            last_ns = now;
            while owed_ns >= gap_ns {
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

impl Member {
    fn new(plan: &Plan, number: u32) -> Self {
        Self {
            number,
            stream: plan.stream(number),
            websocket: plan.uses_websocket(number),
            stage: Stage::Opening,
            was_ready: false,
            writer: None,
            inbound: Inbound::default(),
            tracker: Tracker::default(),
            connect_ns: 0,
            heartbeat_ns: 0,
        }
    }

    /// Writes a small frame at once. The sockets are idle in this direction: not to fit means that the server does
    /// not read.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        let Some(writer) = &self.writer else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if writer.try_write(frame)? < frame.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}
