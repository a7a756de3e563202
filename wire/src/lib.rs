//! Halley's contract with its clients: packets, operations, batches, WebSocket
//! frames, login bodies and close reasons.
//!
//! The crate holds no socket, clock or task. Decoders take the bytes that have
//! arrived and say how many they used; encoders append to a buffer that the
//! caller owns. Input is never trusted: no sequence of bytes makes a decoder
//! panic, read beyond the bytes that it was given, or hold more than its limits.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod auth;
pub mod close;
mod header;
pub mod packet;
pub mod raw;
pub mod sub;
pub mod ws;

pub use auth::{AuthBody, AuthError};
pub use close::CloseReason;
pub use header::{BODY_BYTES_MAX_DEFAULT, HEADER_BYTES, Header, Op};
pub use packet::{Packet, PacketError, PacketRef};
