//! Why a connection ends.

/// Why a connection ends, as a closed set: a metric label, a log field and a
/// WebSocket close code.
///
/// goim has none of this on the wire; its clients see the socket close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed.
    PeerClosed,
    /// The socket failed.
    IoError,
    /// The client sent something that is no packet.
    Malformed,
    /// The client sent a packet or message above the limit.
    TooLarge,
    /// The client broke the rules of WebSocket framing.
    WebSocketProtocol,
    /// The login was refused. TCP clients are closed without a reply.
    AuthFailed,
    /// The client sent too many packets before it logged in.
    TooManyBeforeAuth,
    /// The client sent no heartbeat by the idle deadline.
    IdleTimeout,
    /// The same key logged in again.
    Replaced,
    /// The client reads more slowly than it is pushed to.
    SlowConsumer,
    /// A write made no progress by its deadline.
    WriteTimeout,
    /// The login has expired.
    GrantExpired,
    /// The server restarts; the client reconnects elsewhere.
    Draining,
    /// Nobody could decide on the login.
    Unavailable,
    /// The server is at fault.
    Internal,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::PeerClosed,
        Self::IoError,
        Self::Malformed,
        Self::TooLarge,
        Self::WebSocketProtocol,
        Self::AuthFailed,
        Self::TooManyBeforeAuth,
        Self::IdleTimeout,
        Self::Replaced,
        Self::SlowConsumer,
        Self::WriteTimeout,
        Self::GrantExpired,
        Self::Draining,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::IoError => "io_error",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::WebSocketProtocol => "websocket_protocol",
            Self::AuthFailed => "auth_failed",
            Self::TooManyBeforeAuth => "too_many_before_auth",
            Self::IdleTimeout => "idle_timeout",
            Self::Replaced => "replaced",
            Self::SlowConsumer => "slow_consumer",
            Self::WriteTimeout => "write_timeout",
            Self::GrantExpired => "grant_expired",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The code of the close frame: RFC 6455's and IANA's where one fits, else
    /// Halley's own from 4000.
    pub const fn websocket_code(self) -> u16 {
        match self {
            Self::PeerClosed => 1000,
            Self::WebSocketProtocol => 1002,
            Self::Malformed => 1007,
            Self::TooLarge => 1009,
            Self::IoError | Self::Internal => 1011,
            Self::Draining => 1012,
            Self::Unavailable => 1013,
            Self::AuthFailed => 4001,
            Self::TooManyBeforeAuth => 4002,
            Self::IdleTimeout => 4003,
            Self::Replaced => 4004,
            Self::SlowConsumer => 4005,
            Self::WriteTimeout => 4006,
            Self::GrantExpired => 4007,
        }
    }

    /// What the close frame says to people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PeerClosed => "closed by the client",
            Self::IoError => "socket error",
            Self::Malformed => "malformed packet",
            Self::TooLarge => "packet or message too large",
            Self::WebSocketProtocol => "websocket protocol error",
            Self::AuthFailed => "login refused",
            Self::TooManyBeforeAuth => "too many packets before login",
            Self::IdleTimeout => "no heartbeat in time",
            Self::Replaced => "replaced by a newer login with the same key",
            Self::SlowConsumer => "reading too slowly",
            Self::WriteTimeout => "not reading",
            Self::GrantExpired => "login expired",
            Self::Draining => "server restarting",
            Self::Unavailable => "no login now, try again later",
            Self::Internal => "internal error",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_are_labels() {
        let names: HashSet<_> = CloseReason::ALL.map(CloseReason::as_str).into();
        assert_eq!(names.len(), CloseReason::ALL.len());
        let is_label = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        assert!(names.into_iter().all(is_label));
    }

    #[test]
    fn codes_and_texts_fit_a_close_frame() {
        for reason in CloseReason::ALL {
            let mut frame = Vec::new();
            crate::ws::encode_close(&mut frame, reason.websocket_code(), reason.text());
            let limits = crate::ws::Limits::default();
            let mut decoder = crate::ws::Decoder::default();
            let (_, event) = decoder.next(&mut frame, &limits).unwrap().unwrap();
            let code = Some(reason.websocket_code());
            let reason = reason.text().as_bytes();
            assert_eq!(event, crate::ws::Event::Close { code, reason });
        }
    }
}
