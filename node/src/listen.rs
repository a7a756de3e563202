//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

/// How a listener, and every socket accepted from it, is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Connections that may wait to be accepted. The system caps it at
    /// `net.core.somaxconn`.
    pub backlog: u32,
    /// Send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Probe idle peers after this time. Unset: never.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Duration>,
    /// Kernel send buffer. Unset: the system's own sizing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_buffer_bytes: Option<u32>,
    /// Kernel receive buffer. Unset: the system's own sizing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_buffer_bytes: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backlog: 4096,
            nodelay: true,
            keepalive: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}

/// Listens on `addr`; port 0 picks a free one. A wildcard IPv6 address listens
/// on IPv4 as well.
///
/// # Errors
///
/// Keep the system's kind and name the address: usually the operator's
/// `AddrInUse` or `PermissionDenied`.
pub fn bind(addr: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    try_bind(addr, options)
        .map_err(|error| io::Error::new(error.kind(), format!("listen on {addr}: {error}")))
}

fn try_bind(addr: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Without it a restart waits for the connections of the process before.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit all of these. Buffer sizes decide the window that
    // is announced in the handshake, so they must be set before listening.
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(idle) = options.keepalive {
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(usize::try_from(bytes).map_err(io::Error::other)?)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(usize::try_from(bytes).map_err(io::Error::other)?)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::{Options, bind};

    #[tokio::test]
    async fn accepted_sockets_inherit_the_options() {
        let options = Options {
            keepalive: Some(Duration::from_secs(75)),
            send_buffer_bytes: Some(8192),
            receive_buffer_bytes: Some(8192),
            ..Options::default()
        };
        let listener = bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();

        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (_client, (accepted, _)) = (client.unwrap(), accepted.unwrap());

        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(75)
        );
        // Linux doubles what is asked for, to have room for its bookkeeping.
        assert_eq!(socket.send_buffer_size().unwrap(), 16384);
        assert_eq!(socket.recv_buffer_size().unwrap(), 16384);
    }

    #[tokio::test]
    async fn keepalive_stays_off_unless_asked_for() {
        let options = Options {
            nodelay: false,
            ..Options::default()
        };
        let listener = bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();

        let socket = SockRef::from(&listener);
        assert!(!socket.keepalive().unwrap());
        assert!(!socket.tcp_nodelay().unwrap());
    }

    #[tokio::test]
    async fn wildcard_ipv6_serves_ipv4() {
        let listener = bind("[::]:0".parse().unwrap(), &Options::default()).unwrap();
        let port = listener.local_addr().unwrap().port();

        let client = TcpStream::connect(("127.0.0.1", port));
        let (client, accepted) = tokio::join!(client, listener.accept());

        client.unwrap();
        accepted.unwrap();
    }

    #[tokio::test]
    async fn an_occupied_port_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap();
        let addr = first.local_addr().unwrap();

        let error = bind(addr, &Options::default()).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }
}
