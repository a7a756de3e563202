//! What can go wrong, and what the caller may do about it.

use std::io;

use halley_wire::PacketError;

use crate::tls::TlsError;

/// A link could not be opened. Every variant but [`Tls`](Self::Tls) is worth another attempt, later or elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name could not be resolved or the TCP connection was refused or reset.
    #[error("connect")]
    Io(#[from] io::Error),
    /// The TLS options are unusable or the server's name is no valid name: the caller's fault.
    #[error("set up tls")]
    Tls(#[from] TlsError),
    /// The server answered the WebSocket handshake with something else than 101, or closed the socket.
    #[error("websocket handshake refused: {reason}")]
    Upgrade {
        /// What the server did.
        reason: String,
    },
    /// The whole connect (name, TCP, TLS, WebSocket) took longer than allowed.
    #[error("connecting took too long")]
    TimedOut,
}

/// An open link ended. All variants are final for the link; a new one may be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The server closed the link, with a WebSocket close code when it sent one.
    #[error("closed by the server{}", code.map(|code| format!(" with {code} {reason}")).unwrap_or_default())]
    Closed {
        /// The WebSocket close code.
        code: Option<u16>,
        /// The text next to the code, empty on TCP.
        reason: String,
    },
    /// The socket failed.
    #[error("use the socket")]
    Io(#[from] io::Error),
    /// The server sent something that is no packet: the server's fault.
    #[error("read a packet")]
    Packet(#[from] PacketError),
    /// The server broke the WebSocket protocol: the server's fault.
    #[error("websocket protocol: {0}")]
    Websocket(String),
}

/// A request of the [`Client`](crate::Client) was not answered. It may have reached the server unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The client is between two connections; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The connection ended before the answer.
    #[error("disconnected before the answer")]
    Disconnected,
    /// No answer within the request timeout.
    #[error("no answer in time")]
    TimedOut,
    /// The client was closed; nothing was sent.
    #[error("the client is closed")]
    Closed,
}
