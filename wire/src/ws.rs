//! WebSocket framing (RFC 6455) for an open connection, on either side.
//!
//! Masked and unmasked frames are read alike, since goim's clients may leave
//! frames unmasked. Extensions and subprotocols do not exist here.

mod decoder;
mod encode;
mod error;
mod frame;
mod mask;
mod utf8;

pub use decoder::{Decoder, Event, Limits};
pub use encode::{encode_close, encode_header, encode_masked};
pub use error::WsError;
pub use frame::{HEADER_BYTES_MAX, Opcode};
pub use mask::apply_mask;

/// Longest payload of a control frame, in bytes.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Whether a peer may send `code` in a close frame.
///
/// Codes below 3000 must be registered; 1004 has no meaning yet, and 1005, 1006
/// and 1015 stand for what no frame says.
pub const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
