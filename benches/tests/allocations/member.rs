//! Clients over blocking sockets, on threads that are not counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use halley_wire::ws::{self, Opcode};
use halley_wire::{AuthBody, HEADER_BYTES, Header, Op, packet, raw};

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const BODY: [u8; 90] = [b'm'; 90];
const UPGRADE: &[u8] =
    b"GET /sub HTTP/1.1\r\nHost: comet\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A client that is logged in.
pub(crate) struct Member {
    socket: TcpStream,
    /// What it gets of a push.
    expected: Vec<u8>,
}

impl Member {
    pub(crate) fn tcp(address: SocketAddr, body: &AuthBody) -> Self {
        let mut socket = connect(address);
        socket.write_all(&login(body)).expect("send");
        let mut answer = [0; HEADER_BYTES];
        socket.read_exact(&mut answer).expect("the answer");
        Self {
            socket,
            expected: packets(),
        }
    }

    pub(crate) fn websocket(address: SocketAddr, body: &AuthBody) -> Self {
        let mut socket = connect(address);
        socket.write_all(UPGRADE).expect("send");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("the upgrade");
            answer.extend(byte);
        }
        let mut frame = Vec::new();
        ws::encode_masked(&mut frame, Opcode::Binary, &login(body), [1, 2, 3, 4]);
        socket.write_all(&frame).expect("send");
        let mut answer = [0; 2 + HEADER_BYTES];
        socket.read_exact(&mut answer).expect("the answer");
        let (packets, mut expected) = (packets(), Vec::new());
        let bytes = HEADER_BYTES + packets.len();
        ws::encode_header(&mut expected, Opcode::Binary, bytes);
        packet::encode(&mut expected, header(Op::RAW), &packets);
        Self { socket, expected }
    }

    /// Waits for one push.
    pub(crate) fn receive(&mut self) {
        let mut received = vec![0; self.expected.len()];
        self.socket.read_exact(&mut received).expect("the push");
        assert_eq!(received, self.expected);
    }
}

/// The body of a push of one message.
pub(crate) fn packets() -> Vec<u8> {
    let mut packets = Vec::new();
    raw::push(&mut packets, Op(1000), &BODY);
    packets
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

fn login(body: &AuthBody) -> Vec<u8> {
    let mut login = Vec::new();
    packet::encode(&mut login, header(Op::AUTH), body.to_json().as_bytes());
    login
}

fn header(op: Op) -> Header {
    Header { ver: 1, op, seq: 0 }
}
