//! One push, encoded for each dialect at most once.

use std::cell::OnceCell;

use bytes::{BufMut, Bytes, BytesMut};
use halley_proto::goim::protocol::Proto;
use halley_wire::{HEADER_BYTES, Header, Op, packet, raw, ws};

/// How a connection frames its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Packets back to back.
    Tcp,
    /// One packet per WebSocket message.
    WebSocket,
}

/// Every dialect, in the order of [`Dialect::index`].
pub const DIALECTS: [Dialect; 2] = [Dialect::Tcp, Dialect::WebSocket];

impl Dialect {
    /// Position in arrays that hold something per dialect.
    pub fn index(self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::WebSocket => 1,
        }
    }
}

/// A push whose body was checked; see the [module](self).
#[derive(Debug)]
pub struct Frame {
    header: Header,
    body: Bytes,
    messages: u32,
    encoded: [OnceCell<Bytes>; 2],
}

/// The body of a raw packet is not a chain of whole packets.
#[derive(Debug, thiserror::Error)]
#[error("malformed raw body: {0}")]
pub struct MalformedRaw(#[from] packet::PacketError);

impl Frame {
    /// Checks what job sent. A raw body must be a chain of complete packets:
    /// clients walk it by the lengths inside.
    pub fn new(proto: &Proto) -> Result<Self, MalformedRaw> {
        let header = Header {
            ver: wire_ver(proto.ver),
            op: Op(proto.op),
            seq: proto.seq,
        };
        Self::checked(header, proto.body.clone())
    }

    /// Checks packets that go out as one raw packet, with the header that goim's job gives it.
    pub fn raw(packets: Bytes) -> Result<Self, MalformedRaw> {
        let header = Header {
            ver: 1,
            op: Op::RAW,
            seq: 0,
        };
        Self::checked(header, packets)
    }

    fn checked(header: Header, body: Bytes) -> Result<Self, MalformedRaw> {
        let messages = match header.op {
            Op::RAW => match raw::count(&body)? {
                0 => return Err(MalformedRaw(packet::PacketError::Truncated)),
                packets => packets,
            },
            _ => 1,
        };
        Ok(Self {
            header,
            body,
            messages: u32::try_from(messages).unwrap_or(u32::MAX),
            encoded: [OnceCell::new(), OnceCell::new()],
        })
    }

    /// Messages inside, as the client counts them.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Bytes that [`Frame::encode`] appends.
    pub fn encoded_bytes(&self, dialect: Dialect) -> usize {
        match dialect {
            Dialect::Tcp if self.header.op == Op::RAW => self.body.len(),
            Dialect::Tcp => HEADER_BYTES + self.body.len(),
            Dialect::WebSocket => ws::HEADER_BYTES_MAX + HEADER_BYTES + self.body.len(),
        }
    }

    /// Appends the frame as it goes to clients of `dialect`.
    ///
    /// Raw packets lose their outer header on TCP, where the packets inside
    /// stand for themselves, and keep it on WebSocket, where one message is one packet.
    pub fn encode(&self, dialect: Dialect, out: &mut impl BufMut) {
        match dialect {
            Dialect::Tcp => {}
            Dialect::WebSocket => {
                ws::encode_header(out, ws::Opcode::Binary, HEADER_BYTES + self.body.len());
            }
        }
        if dialect == Dialect::WebSocket || self.header.op != Op::RAW {
            out.put_slice(&packet::encode_header(self.header, self.body.len()));
        }
        out.put_slice(&self.body);
    }

    /// The encoded frame, shared by everyone it goes to.
    pub fn encoded(&self, dialect: Dialect) -> &Bytes {
        self.encoded[dialect.index()].get_or_init(|| {
            if dialect == Dialect::Tcp && self.header.op == Op::RAW {
                return self.body.clone();
            }
            let mut out = BytesMut::with_capacity(self.encoded_bytes(dialect));
            self.encode(dialect, &mut out);
            out.freeze()
        })
    }
}

/// goim's version field is 16 bits wide on the wire; the rest is cut off.
#[allow(clippy::cast_possible_truncation)]
fn wire_ver(ver: i32) -> i16 {
    ver as i16
}
