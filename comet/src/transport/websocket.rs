//! One packet per WebSocket message.

use halley_wire::{BODY_BYTES_MAX_DEFAULT, CloseReason, HEADER_BYTES, Header, packet, ws};

pub(crate) mod upgrade;

use super::{Framing, FramingLimits, Goodbye, Incoming};
use crate::frame::Dialect;

/// Holds memory only inside a fragmented message.
#[derive(Debug, Default)]
pub(crate) struct WebSocket(ws::Decoder);

impl Framing for WebSocket {
    const DIALECT: Dialect = Dialect::WebSocket;

    fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: FramingLimits,
    ) -> Result<Option<(usize, Incoming<'a>)>, CloseReason> {
        let ws_limits = ws::Limits {
            // goim lets a message be longer than the packet inside.
            message_bytes_max: 2
                * (limits.body_bytes_max.max(BODY_BYTES_MAX_DEFAULT) + HEADER_BYTES),
            fragments_max: limits.fragments_max,
            // Text frames carry binary packets.
            utf8: false,
        };
        let event = match self.0.next(input, &ws_limits) {
            Ok(event) => event,
            Err(error) => return Err(error.close_reason()),
        };
        let Some((consumed, event)) = event else {
            return Ok(None);
        };
        let incoming = match event {
            ws::Event::Data { payload, .. } => {
                match packet::decode_message(payload, limits.body_bytes_max) {
                    Ok(packet) => Incoming::Packet(packet),
                    Err(error) => return Err(error.close_reason()),
                }
            }
            ws::Event::Ping(payload) => Incoming::Ping(payload),
            ws::Event::Close { code, .. } => Incoming::Close(code),
            ws::Event::Pong => Incoming::Pong,
            ws::Event::Fragment => Incoming::Fragment,
        };
        Ok(Some((consumed, incoming)))
    }

    fn encode(out: &mut Vec<u8>, header: Header, body: &[u8]) {
        ws::encode_header(out, ws::Opcode::Binary, HEADER_BYTES + body.len());
        packet::encode(out, header, body);
    }

    fn encode_pong(out: &mut Vec<u8>, payload: &[u8]) {
        ws::encode_header(out, ws::Opcode::Pong, payload.len());
        out.extend_from_slice(payload);
    }

    fn encode_goodbye(out: &mut Vec<u8>, goodbye: &Goodbye) {
        let reason = goodbye.reason;
        match (reason == CloseReason::PeerClosed, goodbye.answer) {
            (false, _) => ws::encode_close(out, reason.websocket_code(), reason.text()),
            (true, Some(code)) => ws::encode_close(out, code, ""),
            (true, None) => ws::encode_header(out, ws::Opcode::Close, 0),
        }
    }
}
