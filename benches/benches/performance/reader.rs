//! The receiving end, the same for Halley's comet and for the raw sender.
//!
//! One thread with epoll holds all connections. It compares every byte that
//! comes with what was announced, and tells after each pass that everyone has
//! got theirs.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use halley_node::limits::raise_open_files;
use halley_wire::ws::{self, Opcode};
use halley_wire::{AuthBody, Header, Op, packet};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::protocol::{Announced, OPERATION, ROOM, Speaks};

/// Connections that are opened or log in at the same time.
const WAVE: usize = 128;
/// How long one connection may take for anything before the measurement.
const PATIENCE: Duration = Duration::from_secs(20);
const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 64 << 10;
const UPGRADE: &[u8] =
    b"GET /sub HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Serves the process that started this one, over standard input and output.
pub(crate) fn run(speaks: Speaks, address: SocketAddr, members: usize) -> anyhow::Result<()> {
    raise_open_files().context("raise the limit on open files")?;
    let mut fleet = Fleet::connect(speaks, address, members)?;
    say("ready")?;
    for line in io::stdin().lock().lines() {
        let announced: Announced = line?.parse()?;
        say("listening")?;
        fleet.receive(&announced)?;
    }
    Ok(())
}

struct Fleet {
    epoll: std::os::fd::OwnedFd,
    members: Vec<Member>,
    buffer: Vec<u8>,
}

struct Member {
    socket: TcpStream,
    /// Of what was announced last.
    received: usize,
}

impl Fleet {
    fn connect(speaks: Speaks, address: SocketAddr, members: usize) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut fleet = Self {
            epoll,
            members: Vec::with_capacity(members),
            buffer: vec![0; READ_BYTES],
        };
        while fleet.members.len() < members {
            let from = fleet.members.len();
            let wave = from..members.min(from + WAVE);
            fleet.connect_wave(speaks, address, wave)?;
        }
        Ok(fleet)
    }

    fn connect_wave(
        &mut self,
        speaks: Speaks,
        address: SocketAddr,
        wave: Range<usize>,
    ) -> anyhow::Result<()> {
        let mut sockets = Vec::with_capacity(wave.len());
        for _ in wave.clone() {
            let socket = TcpStream::connect(address).context("connect")?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            sockets.push(socket);
        }
        log_in(&mut sockets, speaks, wave.start)?;
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            let number = EventData::new_u64(self.members.len() as u64);
            epoll::add(&self.epoll, &socket, number, flags)?;
            self.members.push(Member {
                socket,
                received: 0,
            });
        }
        Ok(())
    }

    /// Receives the announced passes and says so after each; in the end says
    /// how many reads they took.
    fn receive(&mut self, announced: &Announced) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut reads = 0_u64;
        for member in &mut self.members {
            member.received = 0;
        }
        for pass in 1..=announced.passes {
            let mut left = announced.bytes.len() * self.members.len();
            while left > 0 {
                events.clear();
                epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
                for event in &events {
                    let number = usize::try_from(event.data.u64())?;
                    let member = &mut self.members[number];
                    let (bytes, calls) = member.read(&mut self.buffer, &announced.bytes)?;
                    left = left.checked_sub(bytes).context("more than announced")?;
                    reads += calls;
                }
            }
            let each = announced.bytes.len() * pass;
            let is_whole = self.members.iter().all(|member| member.received == each);
            ensure!(is_whole, "a member got another one's messages");
            say("received")?;
        }
        say(&reads.to_string())
    }
}

impl Member {
    /// Reads what is there and returns its length and the calls that it took.
    fn read(&mut self, buffer: &mut [u8], expected: &[u8]) -> anyhow::Result<(usize, u64)> {
        let (mut bytes, mut calls) = (0, 0);
        loop {
            let read = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => bail!("the server closed a connection"),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Ok((bytes, calls)),
                Err(error) => return Err(error).context("receive"),
            };
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let at = self.received % expected.len();
                let (got, more) = rest.split_at(rest.len().min(expected.len() - at));
                ensure!(
                    got == &expected[at..at + got.len()],
                    "something else than announced"
                );
                self.received += got.len();
                rest = more;
            }
            bytes += read;
            calls += 1;
            // After a short read the socket is empty, and the next arrival is an event of its own.
            if read < buffer.len() {
                return Ok((bytes, calls));
            }
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Each step is taken by all connections before the next, so that the server's
/// answers to a wave are under way together.
fn log_in(sockets: &mut [TcpStream], speaks: Speaks, first: usize) -> anyhow::Result<()> {
    if speaks == Speaks::Nothing {
        return Ok(());
    }
    if speaks == Speaks::WebSocket {
        for socket in &mut *sockets {
            socket.write_all(UPGRADE).context("ask for the upgrade")?;
        }
        for socket in &mut *sockets {
            read_upgrade(socket).context("read the upgrade")?;
        }
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let login = login(speaks, first + number);
        socket.write_all(&login).context("log in")?;
    }
    for socket in sockets {
        read_answer(socket, speaks).context("read the login's answer")?;
    }
    Ok(())
}

fn login(speaks: Speaks, number: usize) -> Vec<u8> {
    let body = AuthBody {
        mid: 1,
        key: format!("bench-{number}"),
        room_id: ROOM.to_owned(),
        platform: "bench".to_owned(),
        accepts: vec![OPERATION.0],
        token: None,
    };
    let header = Header {
        ver: 1,
        op: Op::AUTH,
        seq: 1,
    };
    let mut login = Vec::new();
    packet::encode(&mut login, header, body.to_json().as_bytes());
    if speaks == Speaks::Tcp {
        return login;
    }
    let mut frame = Vec::new();
    ws::encode_masked(&mut frame, Opcode::Binary, &login, MASK);
    frame
}

/// Nothing follows the answer until the login.
fn read_upgrade(socket: &mut TcpStream) -> anyhow::Result<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let read = socket.read(&mut buffer)?;
        ensure!(read > 0, "closed");
        answer.extend_from_slice(&buffer[..read]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101 "), "refused");
    Ok(())
}

/// Exactly the answer: what follows it is counted.
fn read_answer(socket: &mut TcpStream, speaks: Speaks) -> anyhow::Result<()> {
    let mut bytes = halley_wire::HEADER_BYTES;
    if speaks == Speaks::WebSocket {
        let mut header = [0; 2];
        socket.read_exact(&mut header)?;
        bytes = usize::from(header[1]);
    }
    let mut answer = vec![0; bytes];
    socket.read_exact(&mut answer)?;
    let answer = packet::decode_message(&answer, bytes)?;
    ensure!(answer.header.op == Op::AUTH_REPLY, "refused");
    Ok(())
}
