//! What an idle connection costs in memory of the process: a server takes some
//! thousand clients, over TCP and then over WebSocket, each logged in with a key
//! and in a room, and its memory comes to rest below a bound for each.
//!
//! The bounds are measured ones with a tenth on top. `docs/performance.md` has
//! what a release build needs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use halley_node::limits::raise_open_files;
use halley_tests::unconfigured;
use halley_wire::ws::{self, Opcode};
use halley_wire::{AuthBody, HEADER_BYTES, Header, Op, packet};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at the server's memory.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Memory that has not fallen for so long is at rest: longer than the allocator
/// keeps pages that were freed.
const REST: Duration = Duration::from_secs(1);
/// Clients whose logins let caches and pools grow before anything is measured.
const FIRST: usize = 500;
const CONNECTIONS: usize = 5_000;
/// Clients that log in at the same time.
const WAVE: usize = 100;
/// Members of each room.
const ROOM: usize = 100;
const TCP_BYTES_MAX: u64 = 520;
const WEBSOCKET_BYTES_MAX: u64 = 520;
const UPGRADE: &[u8] =
    b"GET /sub HTTP/1.1\r\nHost: halley\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    WebSocket,
}

#[test]
fn idle_connections_stay_below_their_bound() {
    raise_open_files().expect("raise the limit on open files");
    for (transport, bytes_max) in [
        (Transport::Tcp, TCP_BYTES_MAX),
        (Transport::WebSocket, WEBSOCKET_BYTES_MAX),
    ] {
        let server = Server::start();
        let _first = server.log_in(transport, 0..FIRST);
        let before = server.memory_at_rest();
        let _clients = server.log_in(transport, FIRST..FIRST + CONNECTIONS);

        let deadline = Instant::now() + PATIENCE;
        loop {
            let each = server.memory().saturating_sub(before) / CONNECTIONS as u64;
            if each <= bytes_max {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{transport:?}: {each} bytes for each connection instead of {bytes_max}"
            );
            pause();
        }
    }
}

/// The real binary, killed when the test ends.
struct Server {
    child: Child,
    tcp: SocketAddr,
    websocket: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut command = unconfigured(env!("CARGO_BIN_EXE_halley"));
        for key in [
            "comet.tcp.bind",
            "comet.websocket.bind",
            "comet.rpc.bind",
            "logic.http.bind",
            "logic.rpc.bind",
        ] {
            command.arg(format!("--set={key}=127.0.0.1:0"));
        }
        let mut child = command
            .args(["--log=error", "--banner"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start halley");
        let banner = BufReader::new(child.stdout.take().expect("piped"));
        let lines = banner.lines().map_while(Result::ok);
        let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let at = |scheme: &str| {
            let address = lines.iter().find_map(|line| line.split_once(scheme));
            let (_, address) = address.unwrap_or_else(|| panic!("no {scheme} in {lines:#?}"));
            let address = address.split('/').next().expect("the first part");
            address.parse().expect("an address")
        };
        Self {
            tcp: at("tcp://"),
            websocket: at("ws://"),
            child,
        }
    }

    /// Logs clients in and returns when all have their answer.
    fn log_in(&self, transport: Transport, numbers: Range<usize>) -> Vec<TcpStream> {
        let mut clients = Vec::with_capacity(numbers.len());
        for first in numbers.clone().step_by(WAVE) {
            let wave = first..numbers.end.min(first + WAVE);
            let mut sockets: Vec<_> = wave.clone().map(|_| self.connect(transport)).collect();
            if transport == Transport::WebSocket {
                upgrade(&mut sockets);
            }
            for (socket, number) in sockets.iter_mut().zip(wave) {
                socket.write_all(&login(transport, number)).expect("send");
            }
            for socket in &mut sockets {
                let mut answer = [0; HEADER_BYTES + 2];
                let bytes = match transport {
                    Transport::Tcp => HEADER_BYTES,
                    Transport::WebSocket => HEADER_BYTES + 2,
                };
                socket.read_exact(&mut answer[..bytes]).expect("the answer");
            }
            clients.append(&mut sockets);
        }
        clients
    }

    fn connect(&self, transport: Transport) -> TcpStream {
        let address = match transport {
            Transport::Tcp => self.tcp,
            Transport::WebSocket => self.websocket,
        };
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket
    }

    /// Bytes that the process has for itself: not its code, of which more comes
    /// from the disk with everything that is done for the first time.
    fn memory(&self) -> u64 {
        let rollup = format!("/proc/{}/smaps_rollup", self.child.id());
        let rollup = fs::read_to_string(rollup).expect("the process's memory");
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.expect("a size").parse().expect("a number");
        kilobytes * 1024
    }

    /// Its memory once what was freed has gone back to the system.
    fn memory_at_rest(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let (mut lowest, mut fell) = (self.memory(), Instant::now());
        while fell.elapsed() < REST {
            assert!(Instant::now() < deadline, "memory still falls: {lowest}");
            pause();
            let memory = self.memory();
            if memory < lowest {
                (lowest, fell) = (memory, Instant::now());
            }
        }
        lowest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn upgrade(sockets: &mut [TcpStream]) {
    for socket in &mut *sockets {
        socket.write_all(UPGRADE).expect("send");
    }
    for socket in sockets {
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.ends_with(b"\r\n\r\n") {
            let read = socket.read(&mut buffer).expect("the upgrade");
            assert!(read > 0, "closed after {answer:?}");
            answer.extend_from_slice(&buffer[..read]);
        }
    }
}

fn login(transport: Transport, number: usize) -> Vec<u8> {
    let body = AuthBody {
        mid: 1,
        key: format!("6ba7b810-9dad-11d1-80b4-{number:012}"),
        room_id: format!("live://{}", number / ROOM),
        accepts: vec![1000],
        ..AuthBody::default()
    };
    let header = Header {
        ver: 1,
        op: Op::AUTH,
        seq: 1,
    };
    let mut login = Vec::new();
    packet::encode(&mut login, header, body.to_json().as_bytes());
    if transport == Transport::Tcp {
        return login;
    }
    let mut frame = Vec::new();
    ws::encode_masked(&mut frame, Opcode::Binary, &login, [1, 2, 3, 4]);
    frame
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process's memory cannot be waited for but by looking again"
)]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}
