//! The receiving side.

use super::frame::{Extent, Opcode, Start};
use super::utf8::{Invalid, Utf8};
use super::{WsError, apply_mask, is_close_code};

/// Bounds on what a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, all its fragments together. The caller's buffer
    /// has to hold one frame of that payload.
    pub message_bytes_max: usize,
    /// Most frames of one fragmented message.
    pub fragments_max: usize,
    /// Whether text has to be UTF-8. The RFC says so; goim's clients send binary
    /// packets in text frames.
    pub utf8: bool,
}

impl Default for Limits {
    /// What goim's read buffer and its loop allow.
    fn default() -> Self {
        Self {
            message_bytes_max: 8192,
            fragments_max: 100,
            utf8: false,
        }
    }
}

/// What was taken from the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Data {
        /// Whether the peer calls it text.
        text: bool,
        /// Unmasked and, if it came in fragments, joined.
        payload: &'a [u8],
    },
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// Nothing to do.
    Pong,
    /// The peer says goodbye and sends nothing more: do not decode further.
    Close {
        /// Valid, if there is one.
        code: Option<u16>,
        /// UTF-8, perhaps empty.
        reason: &'a [u8],
    },
    /// A part of a message was put aside; nothing to do.
    Fragment,
}

/// Turns bytes into messages.
///
/// A pointer wide, without heap memory as long as no message is under way.
#[derive(Debug, Default)]
pub struct Decoder {
    message: Option<Box<Message>>,
}

/// A message that is not complete, or was given out by the last call.
#[derive(Debug)]
struct Message {
    stage: Stage,
    text: bool,
    payload: Vec<u8>,
    frames: usize,
    utf8: Utf8,
    /// Payload bytes of the frame at the front of the input that `utf8` has seen.
    checked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Part of its first frame was seen.
    Begun,
    /// Some of its frames were taken.
    Fragmented,
    /// Given out.
    Finished,
}

impl Message {
    fn new(text: bool) -> Self {
        Self {
            stage: Stage::Begun,
            text,
            payload: Vec::new(),
            frames: 0,
            utf8: Utf8::START,
            checked: 0,
        }
    }

    /// Checks what `utf8` has not seen of the frame at the front of the input.
    fn check(&mut self, payload: &[u8], mask: Option<[u8; 4]>) -> Result<(), WsError> {
        let mask = mask.unwrap_or_default();
        let key = mask.iter().cycle().skip(self.checked % mask.len());
        let unseen = payload.get(self.checked..).unwrap_or_default();
        self.utf8
            .feed(unseen.iter().zip(key).map(|(byte, key)| byte ^ key))
            .map_err(|Invalid| WsError::Utf8)?;
        self.checked = payload.len();
        Ok(())
    }
}

impl Decoder {
    /// Takes one event from the front of `input` and says how many bytes it was;
    /// `None` means that more bytes are needed. The next call's input starts after
    /// those bytes; after `None`, it starts with the same bytes as before.
    ///
    /// Payloads are unmasked in place, and only those that are taken. Mistakes are
    /// found as soon as the bytes that make them are there.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
    ) -> Result<Option<(usize, Event<'a>)>, WsError> {
        self.message
            .take_if(|message| message.stage == Stage::Finished);
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let start = Start::parse(first)?;
        self.check_sequence(start, limits)?;
        let is_control = start.opcode.is_control();
        let joined = self
            .message
            .as_ref()
            .map_or(0, |message| message.payload.len());
        let payload_bytes_max = limits.message_bytes_max.saturating_sub(joined);
        let Some(extent) = Extent::parse(input, is_control, payload_bytes_max)? else {
            return Ok(None);
        };
        let available = &mut input[extent.payload_at..];
        if !is_control {
            let arrived = available.len().min(extent.payload_bytes);
            self.check_text(start, &available[..arrived], &extent, limits)?;
        }
        let Some(payload) = available.get_mut(..extent.payload_bytes) else {
            return Ok(None);
        };
        if let Some(mask) = extent.mask {
            apply_mask(payload, mask);
        }
        let event = match start.opcode {
            Opcode::Close => close(payload)?,
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong,
            Opcode::Continuation | Opcode::Text | Opcode::Binary => self.take(start, payload),
        };
        Ok(Some((extent.payload_at + extent.payload_bytes, event)))
    }

    fn in_message(&self) -> Option<&Message> {
        self.message
            .as_deref()
            .filter(|message| message.stage == Stage::Fragmented)
    }

    /// Whether a frame may come here.
    fn check_sequence(&self, start: Start, limits: &Limits) -> Result<(), WsError> {
        let frames = match (start.opcode, self.in_message()) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => return Err(WsError::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(WsError::ExpectedContinuation),
            (Opcode::Text | Opcode::Binary, None) if start.fin => return Ok(()),
            (Opcode::Text | Opcode::Binary, None) => 0,
            (Opcode::Continuation, Some(message)) => message.frames,
        };
        if frames >= limits.fragments_max {
            return Err(WsError::TooManyFragments);
        }
        Ok(())
    }

    /// Checks as much of a text frame as has arrived, still masked.
    fn check_text(
        &mut self,
        start: Start,
        arrived: &[u8],
        extent: &Extent,
        limits: &Limits,
    ) -> Result<(), WsError> {
        let is_text =
            start.opcode == Opcode::Text || self.in_message().is_some_and(|message| message.text);
        if !limits.utf8 || !is_text {
            return Ok(());
        }
        let is_end = start.fin && arrived.len() == extent.payload_bytes;
        let message = self
            .message
            .get_or_insert_with(|| Box::new(Message::new(true)));
        message.check(arrived, extent.mask)?;
        if is_end && !message.utf8.is_boundary() {
            return Err(WsError::Utf8);
        }
        Ok(())
    }

    /// Takes an unmasked data frame.
    fn take<'a>(&'a mut self, start: Start, payload: &'a [u8]) -> Event<'a> {
        let text = start.opcode == Opcode::Text;
        if start.fin && start.opcode != Opcode::Continuation {
            self.message = None;
            return Event::Data { text, payload };
        }
        let message = self
            .message
            .get_or_insert_with(|| Box::new(Message::new(text)));
        message.payload.extend_from_slice(payload);
        message.frames += 1;
        message.checked = 0;
        if !start.fin {
            message.stage = Stage::Fragmented;
            return Event::Fragment;
        }
        message.stage = Stage::Finished;
        Event::Data {
            text: message.text,
            payload: &message.payload,
        }
    }
}

fn close(payload: &[u8]) -> Result<Event<'_>, WsError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Event::Close {
                code: None,
                reason: payload,
            })
        } else {
            Err(WsError::CloseBody)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(WsError::CloseCode(code));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(WsError::Utf8);
    }
    Ok(Event::Close {
        code: Some(code),
        reason,
    })
}

#[cfg(test)]
mod tests;
