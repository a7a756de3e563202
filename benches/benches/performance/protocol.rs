//! What the processes of a measurement have in common.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use halley_wire::ws::{self, Opcode};
use halley_wire::{HEADER_BYTES, Header, Op, packet, raw};

/// The room that every member is in.
pub(crate) const ROOM: &str = "live://bench";
/// The operation of every message.
pub(crate) const OPERATION: Op = Op(1000);
/// The body of every message.
pub(crate) const BODY: [u8; 90] = [b'm'; 90];

/// What the clients of a measurement speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// They only listen.
    Nothing,
    Tcp,
    WebSocket,
}

impl Speaks {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Tcp => "TCP",
            Self::WebSocket => "WebSocket",
        }
    }

    /// A batch of so many messages as comet writes it.
    pub(crate) fn frame(self, messages: usize) -> Vec<u8> {
        let packets = packets(messages);
        let mut frame = Vec::new();
        if self == Self::WebSocket {
            let bytes = HEADER_BYTES + packets.len();
            ws::encode_header(&mut frame, Opcode::Binary, bytes);
            let header = Header {
                ver: 1,
                op: Op::RAW,
                seq: 0,
            };
            frame.extend_from_slice(&packet::encode_header(header, packets.len()));
        }
        frame.extend_from_slice(&packets);
        frame
    }
}

impl FromStr for Speaks {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        [Self::Nothing, Self::Tcp, Self::WebSocket]
            .into_iter()
            .find(|speaks| speaks.as_str() == text)
            .with_context(|| format!("nobody speaks {text}"))
    }
}

/// A batch of so many messages as job sends it to comet.
pub(crate) fn packets(messages: usize) -> Bytes {
    let mut packets = Vec::new();
    for _ in 0..messages {
        raw::push(&mut packets, OPERATION, &BODY);
    }
    packets.into()
}

/// What every member gets in each of the next passes; a line between processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) passes: usize,
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.passes)?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Announced {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let (passes, hex) = line.split_once(' ').context("not an announcement")?;
        ensure!(
            hex.is_ascii() && !hex.is_empty() && hex.len() % 2 == 0,
            "not an announcement: {line}"
        );
        let bytes = (0..hex.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        Ok(Self {
            passes: passes.parse()?,
            bytes: bytes.collect::<Result<_, _>>()?,
        })
    }
}
