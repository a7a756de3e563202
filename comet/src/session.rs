//! What a logged-in client's packets mean: `(packet) → action`, without any I/O.

use halley_wire::{Header, Op, PacketRef, sub};

mod grant;

pub use grant::Grant;

/// What has to be done for the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Answer with the room's online count; `refresh` the idle deadline.
    Heartbeat {
        /// Only a heartbeat keeps the connection, its reply's number does not.
        refresh: bool,
    },
    /// Change to the room, or leave it, then echo.
    ChangeRoom(RoomChange<'a>),
    /// Accept these operations too, then echo.
    Subscribe(Vec<i32>),
    /// Accept these operations no more, then echo.
    Unsubscribe(Vec<i32>),
    /// Authenticate again with this token; answer when logic has.
    Refresh(&'a [u8]),
    /// Hand to logic, then answer with the same operation and no body.
    Forward,
}

/// What a change of room asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum RoomChange<'a> {
    /// Another room.
    To(&'a str),
    /// No room.
    Leave,
    /// Nothing that can be granted: the reply is sent all the same, as goim does.
    Refused(RefusedRoom),
}

/// Why a room was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedRoom {
    /// Room names travel as text between the nodes.
    NotUtf8,
    /// Longer than the limit.
    TooLong,
    /// The client's grant does not cover it.
    Forbidden,
}

/// The limits of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Bytes of a room's name.
    pub room_name_bytes_max: usize,
}

impl SessionLimits {
    /// Whether a room may have this name.
    pub fn allow_room(self, name: impl AsRef<[u8]>) -> bool {
        name.as_ref().len() <= self.room_name_bytes_max
    }
}

/// Says what `packet` means to a client with `grant`.
pub fn on_packet<'a>(
    packet: &PacketRef<'a>,
    grant: Option<&Grant>,
    limits: SessionLimits,
) -> Action<'a> {
    match packet.header.op {
        Op::HEARTBEAT => Action::Heartbeat { refresh: true },
        Op::HEARTBEAT_REPLY => Action::Heartbeat { refresh: false },
        Op::CHANGE_ROOM => Action::ChangeRoom(change_room(packet.body, grant, limits)),
        Op::SUB => Action::Subscribe(allowed_ops(sub::parse(packet.body), grant)),
        Op::UNSUB => Action::Unsubscribe(sub::parse(packet.body).unwrap_or_default()),
        // Without an expiring grant there is nothing to refresh: goim hands it on.
        Op::AUTH if grant.is_some_and(Grant::expires) => Action::Refresh(packet.body),
        _ => Action::Forward,
    }
}

/// The header of the reply to a request with `header`.
pub fn reply_header(header: Header) -> Header {
    let op = match header.op {
        Op::HEARTBEAT | Op::HEARTBEAT_REPLY => Op::HEARTBEAT_REPLY,
        Op::CHANGE_ROOM => Op::CHANGE_ROOM_REPLY,
        Op::SUB => Op::SUB_REPLY,
        Op::UNSUB => Op::UNSUB_REPLY,
        other => other,
    };
    Header { op, ..header }
}

fn change_room<'a>(body: &'a [u8], grant: Option<&Grant>, limits: SessionLimits) -> RoomChange<'a> {
    if body.is_empty() {
        return RoomChange::Leave;
    }
    if !limits.allow_room(body) {
        return RoomChange::Refused(RefusedRoom::TooLong);
    }
    let Ok(room) = std::str::from_utf8(body) else {
        return RoomChange::Refused(RefusedRoom::NotUtf8);
    };
    if grant.is_some_and(|grant| !grant.allows_room(room)) {
        return RoomChange::Refused(RefusedRoom::Forbidden);
    }
    RoomChange::To(room)
}

/// A list with a bad item is ignored as a whole.
fn allowed_ops(ops: Option<Vec<i32>>, grant: Option<&Grant>) -> Vec<i32> {
    let mut ops = ops.unwrap_or_default();
    if let Some(grant) = grant {
        ops.retain(|op| grant.allows_op(*op));
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SessionLimits = SessionLimits {
        room_name_bytes_max: 64,
    };

    fn packet(op: Op, body: &[u8]) -> PacketRef<'_> {
        let header = Header { ver: 1, op, seq: 5 };
        PacketRef { header, body }
    }

    fn restricted() -> Grant {
        Grant::from_proto(&halley_proto::halley::node::Grant {
            expires_ms: 1,
            restrict_rooms: true,
            rooms: vec!["live://*".to_owned()],
            restrict_ops: true,
            ops: vec![1000],
        })
    }

    #[test]
    fn every_operation_has_its_action() {
        let act = |op, body| on_packet(&packet(op, body), None, LIMITS);

        assert_eq!(
            act(Op::HEARTBEAT, b"x"),
            Action::Heartbeat { refresh: true }
        );
        assert_eq!(
            act(Op::HEARTBEAT_REPLY, b""),
            Action::Heartbeat { refresh: false }
        );
        assert_eq!(
            act(Op::CHANGE_ROOM, b"a://1"),
            Action::ChangeRoom(RoomChange::To("a://1"))
        );
        assert_eq!(
            act(Op::CHANGE_ROOM, b""),
            Action::ChangeRoom(RoomChange::Leave)
        );
        assert_eq!(act(Op::SUB, b"1,-2"), Action::Subscribe(vec![1, -2]));
        assert_eq!(act(Op::SUB, b"1,x"), Action::Subscribe(vec![]));
        assert_eq!(act(Op::UNSUB, b"1"), Action::Unsubscribe(vec![1]));
        for op in [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 1000, -1] {
            assert_eq!(act(Op(op), b"x"), Action::Forward, "op {op}");
        }
    }

    #[test]
    fn a_room_name_that_is_not_text_is_refused() {
        let action = on_packet(&packet(Op::CHANGE_ROOM, b"\xff\xfe"), None, LIMITS);
        let refused = RoomChange::Refused(RefusedRoom::NotUtf8);
        assert_eq!(action, Action::ChangeRoom(refused));
    }

    #[test]
    fn a_grant_limits_rooms_and_operations() {
        let grant = restricted();
        let act = |op, body| on_packet(&packet(op, body), Some(&grant), LIMITS);

        assert_eq!(
            act(Op::CHANGE_ROOM, b"live://1"),
            Action::ChangeRoom(RoomChange::To("live://1"))
        );
        let refused = RoomChange::Refused(RefusedRoom::Forbidden);
        assert_eq!(
            act(Op::CHANGE_ROOM, b"vip://1"),
            Action::ChangeRoom(refused)
        );
        assert_eq!(act(Op::SUB, b"1000,1001"), Action::Subscribe(vec![1000]));
        assert_eq!(act(Op::AUTH, b"token"), Action::Refresh(b"token"));
    }

    #[test]
    fn a_room_name_over_the_limit_is_refused() {
        let action = on_packet(&packet(Op::CHANGE_ROOM, &[b'a'; 65]), None, LIMITS);
        let refused = RoomChange::Refused(RefusedRoom::TooLong);
        assert_eq!(action, Action::ChangeRoom(refused));
    }
}
