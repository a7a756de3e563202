//! Where a server listens and how to talk to it.

use std::fmt;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::PathAndQuery;

/// The path on which goim and Halley serve WebSocket.
const WEBSOCKET_PATH: &str = "/sub";

/// How packets travel to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Packets back to back on a TCP connection (`tcp://`, port 3101).
    Tcp,
    /// One packet per WebSocket message (`ws://`, port 3102, path `/sub`).
    Websocket,
    /// WebSocket inside TLS (`wss://`, port 3103, path `/sub`).
    TlsWebsocket,
    /// Packets back to back inside TLS (`tls://`, port 3104).
    TlsTcp,
}

impl Transport {
    /// Whether the link is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::TlsWebsocket | Self::TlsTcp)
    }

    /// Whether the link is a WebSocket.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::Websocket | Self::TlsWebsocket)
    }

    /// The URL scheme.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Websocket => "ws",
            Self::TlsWebsocket => "wss",
            Self::TlsTcp => "tls",
        }
    }

    /// goim's port of this transport, and Halley's for TCP inside TLS.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 3101,
            Self::Websocket => 3102,
            Self::TlsWebsocket => 3103,
            Self::TlsTcp => 3104,
        }
    }

    fn from_scheme(scheme: &str) -> Option<Self> {
        [Self::Tcp, Self::Websocket, Self::TlsWebsocket, Self::TlsTcp]
            .into_iter()
            .find(|transport| transport.scheme() == scheme)
    }
}

/// The address of a server: `tcp://host:port`, `tls://host:port`, `ws://host:port/sub` or `wss://host:port/sub`.
///
/// Port and path may be left out. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    transport: Transport,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// The server at `host` (a name, or an address without brackets) and `port`, with the usual path.
    pub fn new(transport: Transport, host: impl Into<String>, port: u16) -> Self {
        Self {
            transport,
            host: host.into(),
            port,
            path: WEBSOCKET_PATH.to_owned(),
        }
    }

    /// How packets travel.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the WebSocket handshake.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.scheme(), self.authority())?;
        if self.transport.is_websocket() {
            f.write_str(&self.path)?;
        }
        Ok(())
    }
}

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path"
)]
pub struct InvalidEndpoint {
    text: String,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidEndpoint {
            text: text.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let transport = uri
            .scheme_str()
            .and_then(Transport::from_scheme)
            .ok_or_else(invalid)?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(invalid());
        }
        // `Uri` reads a port that is not a number as no port.
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if has_port => return Err(invalid()),
            None => transport.default_port(),
        };
        let path = match uri.path_and_query().map(PathAndQuery::as_str) {
            None | Some("" | "/") => WEBSOCKET_PATH,
            Some(_) if !transport.is_websocket() => return Err(invalid()),
            Some(path) => path,
        };
        Ok(Self {
            transport,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_every_transport() {
        for (text, printed) in [
            ("tcp://127.0.0.1:3101", "tcp://127.0.0.1:3101"),
            ("tcp://comet", "tcp://comet:3101"),
            ("tls://comet", "tls://comet:3104"),
            ("ws://comet", "ws://comet:3102/sub"),
            ("ws://comet:80/other", "ws://comet:80/other"),
            ("wss://[::1]:9/sub", "wss://[::1]:9/sub"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), printed);
            assert_eq!(printed.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn refuses_what_is_no_server() {
        for text in [
            "",
            "comet:3101",
            "http://comet",
            "tcp://",
            "tcp://comet:port",
            "tcp://comet:99999",
            "tcp://comet/sub",
            "ws://user@comet",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
