//! Clients that no library would be: bare sockets.

use std::net::SocketAddr;

use halley_wire::{AuthBody, Header, Op, packet};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// Connects a socket whose kernel takes little that is not read.
pub(crate) async fn small(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(address).await.expect("connected")
}

/// A packet from a client.
pub(crate) fn packet(op: Op, body: &[u8]) -> Vec<u8> {
    let (ver, seq) = (1, 1);
    let mut bytes = Vec::new();
    packet::encode(&mut bytes, Header { ver, op, seq }, body);
    bytes
}

/// A login.
pub(crate) fn login(user: &AuthBody) -> Vec<u8> {
    packet(Op::AUTH, user.to_json().as_bytes())
}

/// Reads one packet without a body.
pub(crate) async fn header(stream: &mut TcpStream) -> [u8; 16] {
    let mut header = [0; 16];
    let read = stream.read_exact(&mut header);
    soon("a packet", read).await.expect("a packet");
    header
}

/// Everything up to the end of the stream.
pub(crate) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = soon("the end of the stream", stream.read_to_end(&mut rest)).await;
    rest
}
