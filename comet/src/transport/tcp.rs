//! goim's TCP framing: packets back to back.

use halley_wire::{CloseReason, Header, Op, packet};

use super::{Framing, FramingLimits, Goodbye, Incoming};
use crate::frame::Dialect;

/// Has no state of its own.
#[derive(Debug, Default)]
pub(crate) struct Tcp;

impl Framing for Tcp {
    const DIALECT: Dialect = Dialect::Tcp;

    fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: FramingLimits,
    ) -> Result<Option<(usize, Incoming<'a>)>, CloseReason> {
        match packet::decode(input, limits.body_bytes_max) {
            Ok(decoded) => {
                Ok(decoded.map(|(packet, consumed)| (consumed, Incoming::Packet(packet))))
            }
            Err(error) => Err(error.close_reason()),
        }
    }

    fn encode(out: &mut Vec<u8>, header: Header, body: &[u8]) {
        packet::encode(out, header, body);
    }

    fn encode_pong(_: &mut Vec<u8>, _: &[u8]) {}

    /// goim's protocol has no goodbye; only a client that should come back to
    /// another node is told so.
    fn encode_goodbye(out: &mut Vec<u8>, goodbye: &Goodbye) {
        if goodbye.reason != CloseReason::Draining {
            return;
        }
        let (min, max) = goodbye.reconnect_ms;
        let body = format!(r#"{{"reason":"draining","reconnect_ms":[{min},{max}]}}"#);
        let header = Header {
            ver: 1,
            op: Op::DISCONNECT_REPLY,
            seq: 0,
        };
        packet::encode(out, header, body.as_bytes());
    }
}
