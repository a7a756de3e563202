//! The head of one frame.
//!
//! ```text
//!  byte 0: FIN RSV1 RSV2 RSV3 opcode(4)    byte 1: MASK length(7)
//!  length 126: 16 bits of length follow; 127: 64 bits; then 4 bytes of mask if MASK
//! ```

use super::{CONTROL_BYTES_MAX, WsError};

/// Longest head of a frame in bytes.
pub const HEADER_BYTES_MAX: usize = 14;

pub(super) const FIN: u8 = 0x80;
pub(super) const MASKED: u8 = 0x80;
pub(super) const LENGTH_16: u8 = 126;
pub(super) const LENGTH_64: u8 = 127;
const RESERVED_BITS: u8 = 0x70;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// The next part of a fragmented message.
    Continuation,
    /// A message of text, or its first part.
    Text,
    /// A message of bytes, or its first part.
    Binary,
    /// The sender says goodbye.
    Close,
    /// To be answered with a pong of the same payload.
    Ping,
    /// Answer to a ping, or unasked for.
    Pong,
}

impl Opcode {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Close, ping and pong: short, never fragmented, allowed inside a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_code(code: u8) -> Result<Self, WsError> {
        match code {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            reserved => Err(WsError::ReservedOpcode(reserved)),
        }
    }
}

/// The first byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
}

impl Start {
    pub(super) fn parse(byte: u8) -> Result<Self, WsError> {
        if byte & RESERVED_BITS != 0 {
            return Err(WsError::ReservedBits);
        }
        let start = Self {
            fin: byte & FIN != 0,
            opcode: Opcode::from_code(byte & 0x0f)?,
        };
        if start.opcode.is_control() && !start.fin {
            return Err(WsError::FragmentedControl);
        }
        Ok(start)
    }
}

/// The rest of the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Where the payload begins in the frame.
    pub(super) payload_at: usize,
    pub(super) payload_bytes: usize,
    pub(super) mask: Option<[u8; 4]>,
}

impl Extent {
    /// Reads lengths and mask; `None` if they are not all there. A length above
    /// `payload_bytes_max` is refused as soon as it is.
    pub(super) fn parse(
        frame: &[u8],
        is_control: bool,
        payload_bytes_max: usize,
    ) -> Result<Option<Self>, WsError> {
        let Some(&second) = frame.get(1) else {
            return Ok(None);
        };
        let short = second & !MASKED;
        if is_control && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(WsError::LongControl);
        }
        let rest = &frame[2..];
        let (length, length_bytes) = match short {
            LENGTH_16 => match rest.first_chunk() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
                None => return Ok(None),
            },
            LENGTH_64 => match rest.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if length > i64::MAX.unsigned_abs() {
            return Err(WsError::Length);
        }
        let payload_bytes = match usize::try_from(length) {
            Ok(bytes) if is_control || bytes <= payload_bytes_max => bytes,
            Ok(_) | Err(_) => return Err(WsError::TooLarge),
        };
        let mask_at = 2 + length_bytes;
        if second & MASKED == 0 {
            return Ok(Some(Self {
                payload_at: mask_at,
                payload_bytes,
                mask: None,
            }));
        }
        Ok(frame[mask_at..].first_chunk().map(|mask| Self {
            payload_at: mask_at + mask.len(),
            payload_bytes,
            mask: Some(*mask),
        }))
    }
}
