//! Operations and the header that every packet starts with.

use std::fmt;

/// Length of a packet's header in bytes.
pub const HEADER_BYTES: usize = 16;

/// Longest body that goim takes from a client, in bytes.
pub const BODY_BYTES_MAX_DEFAULT: usize = 4096;

/// What a packet is about.
///
/// Any 32-bit number is an operation; the constants are those with a meaning to
/// the protocol itself. Pushes use 1000 and above by convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub i32);

impl Op {
    /// Reserved; an application operation to the server.
    pub const HANDSHAKE: Self = Self(0);
    /// Reserved; an application operation to the server.
    pub const HANDSHAKE_REPLY: Self = Self(1);
    /// The client is alive.
    pub const HEARTBEAT: Self = Self(2);
    /// Answer to [`Op::HEARTBEAT`]; the body is the room's member count as a
    /// big-endian `i32`.
    pub const HEARTBEAT_REPLY: Self = Self(3);
    /// A message from the client to the backend; answered with the same operation.
    pub const SEND: Self = Self(4);
    /// Never sent by the server itself.
    pub const SEND_REPLY: Self = Self(5);
    /// The server takes its leave.
    pub const DISCONNECT_REPLY: Self = Self(6);
    /// Login; the body is an [`AuthBody`](crate::AuthBody).
    pub const AUTH: Self = Self(7);
    /// Answer to [`Op::AUTH`], with an empty body.
    pub const AUTH_REPLY: Self = Self(8);
    /// A batch of packets, see [`raw`](crate::raw); only to WebSocket clients.
    pub const RAW: Self = Self(9);
    /// Never on the wire with a meaning.
    pub const PROTO_READY: Self = Self(10);
    /// Never on the wire with a meaning.
    pub const PROTO_FINISH: Self = Self(11);
    /// Move to the room named by the body; empty leaves.
    pub const CHANGE_ROOM: Self = Self(12);
    /// Answer to [`Op::CHANGE_ROOM`], with its body.
    pub const CHANGE_ROOM_REPLY: Self = Self(13);
    /// Accept the operations listed in the body, see [`sub`](crate::sub).
    pub const SUB: Self = Self(14);
    /// Answer to [`Op::SUB`], with its body.
    pub const SUB_REPLY: Self = Self(15);
    /// Accept the operations listed in the body no longer.
    pub const UNSUB: Self = Self(16);
    /// Answer to [`Op::UNSUB`], with its body.
    pub const UNSUB_REPLY: Self = Self(17);
}

impl From<i32> for Op {
    fn from(op: i32) -> Self {
        Self(op)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A packet's header without its two length fields, which follow from the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// Protocol version; clients send 1, replies repeat it, nobody checks it.
    pub ver: i16,
    /// What the packet is about.
    pub op: Op,
    /// Chosen by the client and repeated in the reply; 0 in pushes.
    pub seq: i32,
}
