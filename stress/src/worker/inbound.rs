//! From bytes to counts: the path that every delivered message takes. No allocation, no copy and no clock per message.

use std::io;
use std::task::{Context, Poll};

use halley_wire::{HEADER_BYTES, Op, packet, raw, ws};
use tokio::io::ReadBuf;

use super::link::Reader;
use super::member::{Member, Stage};
use super::post::{Post, State, Tally};
use crate::clock::now_ns;
use crate::messages::Plan;
use crate::payload::{SEQ_MAX, STAMP_BYTES, Stamp};

/// The longest packet that a server may send, bytes: goim's own limit on a push is a million.
const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A read gets at least this much room, bytes.
const READ_BYTES_MIN: usize = 64 * 1024;

const WEBSOCKET_LIMITS: ws::Limits = ws::Limits {
    message_bytes_max: PACKET_BYTES_MAX,
    fragments_max: 128,
    utf8: false,
};

/// What is left of a connection's bytes between two reads: nothing, almost always.
#[derive(Default)]
pub(super) struct Inbound {
    /// The beginning of a packet whose rest has not arrived.
    carry: Vec<u8>,
    decoder: ws::Decoder,
}

/// Reads and counts until the member has reached a stage; an error says how the connection ended.
pub(super) fn poll_receive(
    post: &Post,
    slot: usize,
    reader: &mut Reader,
    until: Stage,
    cx: &mut Context<'_>,
) -> Poll<Result<(), String>> {
    let state = &mut *post.state.lock();
    loop {
        let member = &mut state.members[slot];
        if member.stage >= until {
            return Poll::Ready(Ok(()));
        }
        let carried = member.inbound.carry.len();
        if state.scratch.len() < carried + READ_BYTES_MIN {
            state.scratch.resize(2 * (carried + READ_BYTES_MIN), 0);
        }
        let mut buffer = ReadBuf::new(&mut state.scratch[carried..]);
        let read = match reader.poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(cause(&error))),
            Poll::Ready(Ok(())) => buffer.filled().len(),
        };
        if read == 0 {
            return Poll::Ready(Err("closed by the server".to_owned()));
        }
        state.scratch[..carried].copy_from_slice(&member.inbound.carry);
        state.tally.reads += 1;
        if let Err(ended) = consume(&post.plan, state, slot, carried + read) {
            return Poll::Ready(Err(ended));
        }
    }
}

/// Counts everything complete in the first `end` bytes of the scratch buffer and keeps the rest.
fn consume(plan: &Plan, state: &mut State, slot: usize, end: usize) -> Result<(), String> {
    let State {
        scratch,
        members,
        tally,
        ..
    } = state;
    let member = &mut members[slot];
    let mut inbound = std::mem::take(&mut member.inbound);
    let input = &mut scratch[..end];
    let mut receiver = Receiver {
        plan,
        member,
        tally,
        now_ns: now_ns(),
    };
    let used = if receiver.member.websocket {
        receiver.messages(input, &mut inbound.decoder)?
    } else {
        receiver.packets(input)?
    };
    inbound.carry.clear();
    inbound.carry.extend_from_slice(&input[used..]);
    member.inbound = inbound;
    Ok(())
}

/// One read's worth of messages on their way into the counts.
struct Receiver<'a> {
    plan: &'a Plan,
    member: &'a mut Member,
    tally: &'a mut Tally,
    now_ns: u64,
}

impl Receiver<'_> {
    /// TCP: packets back to back.
    fn packets(&mut self, input: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        while let Some((packet, length)) =
            packet::decode(&input[used..], PACKET_BYTES_MAX).map_err(|_| "malformed packet")?
        {
            used += length;
            self.take(packet.header.op, packet.body);
        }
        Ok(used)
    }

    /// WebSocket: one packet per message, pushes inside an outer op 9.
    fn messages(&mut self, input: &mut [u8], decoder: &mut ws::Decoder) -> Result<usize, String> {
        let mut used = 0;
        while let Some((length, event)) = decoder
            .next(&mut input[used..], &WEBSOCKET_LIMITS)
            .map_err(|_| "malformed websocket frame")?
        {
            used += length;
            match event {
                ws::Event::Data { payload, .. } => self.message(payload)?,
                ws::Event::Ping(payload) => self.pong(payload),
                ws::Event::Close { code, .. } => {
                    let code = code.map_or("no code".to_owned(), |code| code.to_string());
                    return Err(format!("websocket close {code}"));
                }
                ws::Event::Pong | ws::Event::Fragment => {}
            }
        }
        Ok(used)
    }

    fn message(&mut self, payload: &[u8]) -> Result<(), String> {
        let packet =
            packet::decode_message(payload, PACKET_BYTES_MAX).map_err(|_| "malformed packet")?;
        if packet.header.op != Op::RAW {
            self.take(packet.header.op, packet.body);
            return Ok(());
        }
        for inner in raw::iter(packet.body) {
            let inner = inner.map_err(|_| "malformed batch")?;
            self.take(inner.header.op, inner.body);
        }
        Ok(())
    }

    fn take(&mut self, op: Op, body: &[u8]) {
        if op.0 == self.plan.operation {
            self.push(body);
            return;
        }
        match op {
            Op::AUTH_REPLY if self.member.stage == Stage::Opening => {
                self.member.stage = Stage::LoggedIn;
                let took_ns = self.now_ns.saturating_sub(self.member.connect_ns);
                self.tally.times.handshake.record_ns(took_ns);
                if self.tally.begun {
                    self.tally.later.record_ns(took_ns);
                }
            }
            Op::HEARTBEAT_REPLY => self.heartbeat(),
            Op::CHANGE_ROOM_REPLY => {
                let life = self.member.life.as_mut();
                if let Some(sent_ns) = life.and_then(|life| life.end_change(self.now_ns)) {
                    let took_ns = self.now_ns.saturating_sub(sent_ns);
                    self.tally.turnover.changes_answered += 1;
                    if !self.member.slow {
                        self.tally.turnover.change.record_ns(took_ns);
                    }
                }
            }
            Op::DISCONNECT_REPLY => self.tally.goodbyes += 1,
            _ => {}
        }
    }

    fn heartbeat(&mut self) {
        if let Some(sent_ns) = self.member.beats.answered() {
            self.tally.heartbeats_answered += 1;
            // Who reads late would measure itself.
            if !self.member.slow {
                let took_ns = self.now_ns.saturating_sub(sent_ns);
                self.tally.times.heartbeat.record_ns(took_ns);
                if self.plan.stays(self.member.number) {
                    self.tally.stayers.record_ns(took_ns);
                }
            }
        }
        if self.member.stage == Stage::LoggedIn {
            self.member.stage = Stage::Ready;
            if let Some(life) = &mut self.member.life {
                life.arrive(self.now_ns);
            }
        }
    }

    fn push(&mut self, body: &[u8]) {
        let Some(stamp) = Stamp::decode(body).filter(|stamp| stamp.run == self.plan.run) else {
            self.tally.foreign += 1;
            return;
        };
        let slow = self.member.slow;
        let Some(tracker) = self.member.tracker(stamp.stream, stamp.intended_ns) else {
            self.tally.misrouted += 1;
            return;
        };
        if body.len() != self.plan.size_bytes.max(STAMP_BYTES) || stamp.seq >= SEQ_MAX {
            self.tally.corrupt += 1;
        } else if tracker.record(stamp.seq, stamp.settled) {
            let latency_ns = self.now_ns.saturating_sub(stamp.intended_ns);
            self.tally.last_message_ns = self.now_ns;
            let latency = if slow {
                &mut self.tally.slow.latency
            } else {
                &mut self.tally.times.delivery
            };
            latency.record_ns(latency_ns);
        }
    }

    fn pong(&self, payload: &[u8]) {
        let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
        ws::encode_masked(&mut frame, ws::Opcode::Pong, payload, rand::random());
        // A server that cannot take a pong ends the connection itself.
        let _ = self.member.write(&frame);
    }
}

/// The name under which an error is counted: its kind, or what the system says where the kind says nothing.
pub(super) fn cause(error: &io::Error) -> String {
    // No error has this number.
    let no_kind = io::Error::from_raw_os_error(i32::MAX).kind();
    match error.raw_os_error() {
        Some(_) if error.kind() != no_kind => error.kind().to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::cause;

    #[test]
    fn every_error_has_a_name_that_says_something() {
        assert_eq!(cause(&Errno::CONNREFUSED.into()), "connection refused");
        let cause = cause(&Errno::MFILE.into()).to_lowercase();
        assert!(cause.contains("too many open files"), "{cause}");
    }
}
