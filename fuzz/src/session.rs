//! A logged-in client's packets: whatever arrives, the session answers within
//! the client's grant, and a room's log brings a reader every byte in order or
//! tells it what it missed.

use halley_comet::ring::{Cursor, Limits, Read, Ring};
use halley_comet::session::{
    Action, Grant, RefusedRoom, RoomChange, SessionLimits, on_packet, reply_header,
};
use halley_wire::{Op, PacketRef, packet};

const LIMITS: SessionLimits = SessionLimits {
    room_name_bytes_max: 32,
};

/// Drives a session with the packets in `data`; the first two bytes choose the
/// grant and how much the log keeps.
pub fn session(data: &[u8]) {
    let [flags, keep, stream @ ..] = data else {
        return;
    };
    let grant = (flags & 1 == 1).then(|| {
        Grant::from_proto(&halley_proto::halley::node::Grant {
            expires_ms: i64::from(flags & 2),
            restrict_rooms: flags & 4 != 0,
            rooms: vec!["live://*".to_owned(), "one".to_owned()],
            restrict_ops: flags & 8 != 0,
            ops: vec![1, 1000],
        })
    });
    let mut log = Log::new(usize::from(*keep) + 1, u64::from(*flags).wrapping_neg());
    let mut rest = stream;
    while let Ok(Some((packet, taken))) = packet::decode(rest, 4096) {
        check_action(&packet, grant.as_ref());
        check_reply(&packet);
        log.act(&packet);
        rest = &rest[taken..];
    }
}

fn check_action(packet: &PacketRef<'_>, grant: Option<&Grant>) {
    let op = packet.header.op;
    match on_packet(packet, grant, LIMITS) {
        Action::Heartbeat { refresh } => assert_eq!(refresh, op == Op::HEARTBEAT),
        Action::ChangeRoom(change) => {
            assert_eq!(op, Op::CHANGE_ROOM);
            check_room(&change, packet.body, grant);
        }
        Action::Subscribe(ops) => {
            assert_eq!(op, Op::SUB);
            assert!(
                ops.iter()
                    .all(|op| grant.is_none_or(|grant| grant.allows_op(*op)))
            );
        }
        Action::Unsubscribe(_) => assert_eq!(op, Op::UNSUB),
        Action::Refresh(token) => {
            assert!(op == Op::AUTH && grant.is_some_and(Grant::expires));
            assert_eq!(token, packet.body);
        }
        Action::Forward => {
            let own = [
                Op::HEARTBEAT,
                Op::HEARTBEAT_REPLY,
                Op::CHANGE_ROOM,
                Op::SUB,
                Op::UNSUB,
            ];
            assert!(!own.contains(&op));
        }
    }
}

fn check_room(change: &RoomChange<'_>, body: &[u8], grant: Option<&Grant>) {
    match change {
        RoomChange::To(room) => {
            assert_eq!(room.as_bytes(), body);
            assert!(room.len() <= LIMITS.room_name_bytes_max);
            assert!(grant.is_none_or(|grant| grant.allows_room(room)));
        }
        RoomChange::Leave => assert!(body.is_empty()),
        RoomChange::Refused(RefusedRoom::NotUtf8) => assert!(std::str::from_utf8(body).is_err()),
        RoomChange::Refused(RefusedRoom::TooLong) => {
            assert!(body.len() > LIMITS.room_name_bytes_max);
        }
        RoomChange::Refused(RefusedRoom::Forbidden) => assert!(grant.is_some()),
    }
}

fn check_reply(packet: &PacketRef<'_>) {
    let reply = reply_header(packet.header);
    assert_eq!(
        (reply.ver, reply.seq),
        (packet.header.ver, packet.header.seq)
    );
}

/// A log beside the plain stream of all that was ever appended to it.
struct Log {
    ring: Ring,
    stream: Vec<u8>,
    appended: u64,
    /// The reader: where it is, and what it has been told.
    cursor: Cursor,
    position: usize,
    accounted: u64,
}

impl Log {
    fn new(bytes_max: usize, start: u64) -> Self {
        let limits = Limits {
            bytes_max,
            frames_max: 8,
        };
        Self {
            ring: Ring::new(limits, Cursor::new(start)),
            stream: Vec::new(),
            appended: 0,
            cursor: Cursor::new(start),
            position: 0,
            accounted: 0,
        }
    }

    /// Lets the packet's operation choose a step.
    fn act(&mut self, packet: &PacketRef<'_>) {
        match packet.header.op.0.rem_euclid(4) {
            0 | 1 if !packet.body.is_empty() => {
                let messages = packet.header.seq.rem_euclid(3).unsigned_abs() + 1;
                self.ring.append(packet.body.len(), messages, |out| {
                    out.extend_from_slice(packet.body);
                });
                self.stream.extend_from_slice(packet.body);
                self.appended += u64::from(messages);
            }
            2 => self.ring.seal(),
            _ => self.read(packet.body.len()),
        }
        assert_eq!(
            self.ring.head().since(self.cursor),
            self.appended - self.accounted
        );
    }

    /// Reads what one write of `budget` bytes takes, and the torn frame's rest.
    fn read(&mut self, mut budget: usize) {
        match self.ring.read(self.cursor, 4) {
            Read::Evicted(_) => {
                self.accounted = self.appended;
                self.cursor = self.ring.head();
                self.position = self.stream.len();
            }
            Read::Chunks(chunks) => {
                for chunk in chunks {
                    let bytes = chunk.from(self.cursor);
                    let written = bytes.len().min(budget);
                    budget -= written;
                    let split = chunk.split(self.cursor, written);
                    let taken = written + split.tail.len();
                    assert_eq!(
                        bytes[..taken],
                        self.stream[self.position..self.position + taken]
                    );
                    self.position += taken;
                    self.accounted += split.cursor.since(self.cursor);
                    self.cursor = split.cursor;
                    if budget == 0 {
                        break;
                    }
                }
            }
        }
    }
}
