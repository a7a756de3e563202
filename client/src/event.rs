//! What a client tells its user.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use halley_wire::Op;
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;

/// Something happened to the client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Logged in; pushes may arrive from here on.
    Connected {
        /// The server.
        endpoint: Endpoint,
    },
    /// A push, or an answer nobody waited for.
    Message {
        /// The operation that the sender chose.
        op: Op,
        /// What was pushed.
        body: Bytes,
    },
    /// A heartbeat was answered: the number of connections in the client's room, 0 outside of rooms.
    Online(i32),
    /// The connection ended, or an attempt to get one failed.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When the client tries again; `None` when it gave up and this is the last event.
        retry_in: Option<Duration>,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// [`Client::close`](crate::Client::close) was called.
    Closed,
    /// The server asked the client to go elsewhere (op 6, or a WebSocket close with 1001 or 1012).
    Goodbye {
        /// The server's words, empty when it gave none.
        reason: String,
    },
    /// A newer login with the same key took this one's place: the client gives up, or both would take turns. Only a
    /// WebSocket close (4004) tells; on TCP it looks like [`ByServer`](Self::ByServer).
    Replaced,
    /// The server closed the connection.
    ByServer {
        /// The WebSocket close code.
        code: Option<u16>,
        /// The text next to the code.
        reason: String,
    },
    /// The server did not accept the login: goim closes the connection without a word.
    LoginRefused {
        /// What the server said, if anything.
        reason: String,
    },
    /// The server did not answer the login in time.
    LoginTimedOut,
    /// A heartbeat was not answered in time: the link is dead.
    HeartbeatLost,
    /// No connection could be opened, or the socket failed.
    Failed {
        /// The error and its causes.
        reason: String,
    },
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, reason) = match self {
            Self::Closed => ("closed by this client", ""),
            Self::Goodbye { reason } => ("the server is leaving", reason.as_str()),
            Self::Replaced => ("replaced by a newer login with the same key", ""),
            Self::ByServer { code: None, reason } => ("closed by the server", reason.as_str()),
            Self::ByServer {
                code: Some(code),
                reason,
            } => {
                return write!(f, "closed by the server with {code} {reason}");
            }
            Self::LoginRefused { reason } => ("login refused", reason.as_str()),
            Self::LoginTimedOut => ("login not answered", ""),
            Self::HeartbeatLost => ("heartbeat not answered", ""),
            Self::Failed { reason } => ("connection failed", reason.as_str()),
        };
        f.write_str(what)?;
        if !reason.is_empty() {
            write!(f, ": {reason}")?;
        }
        Ok(())
    }
}

/// The bounded queue of a client's events. Dropping it closes the client.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` after the client ended.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}
