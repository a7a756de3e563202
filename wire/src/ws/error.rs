//! What a peer may do wrong.

use crate::CloseReason;

/// A peer broke the rules of framing or a limit. The caller sends a close frame
/// with [`WsError::close_code`] and reads no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WsError {
    /// A reserved bit is set, which only an extension may do.
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("opcode {0} is reserved")]
    ReservedOpcode(u8),
    /// A control frame without FIN.
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    #[error("control frame is longer than 125 bytes")]
    LongControl,
    /// A length with its highest bit set.
    #[error("payload length is negative")]
    Length,
    /// A continuation outside of a message.
    #[error("continuation of nothing")]
    UnexpectedContinuation,
    /// A new message inside of a fragmented one.
    #[error("message begins inside another")]
    ExpectedContinuation,
    /// A close frame with a payload of one byte.
    #[error("close frame has half a code")]
    CloseBody,
    /// A close code that no frame may carry.
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// Text or a close reason that is not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// A message above the limit.
    #[error("message is above the limit")]
    TooLarge,
    /// A message in more frames than the limit.
    #[error("message has too many fragments")]
    TooManyFragments,
}

impl WsError {
    /// The code to answer with.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::LongControl
            | Self::Length
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseBody
            | Self::CloseCode(_) => 1002,
            Self::Utf8 => 1007,
            Self::TooLarge | Self::TooManyFragments => 1009,
        }
    }

    /// Why the connection that did it is closed.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::TooLarge | Self::TooManyFragments => CloseReason::TooLarge,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::LongControl
            | Self::Length
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseBody
            | Self::CloseCode(_)
            | Self::Utf8 => CloseReason::WebSocketProtocol,
        }
    }
}
