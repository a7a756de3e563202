//! The connections of one loop, by token.

use std::fmt;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Ready;
use super::wakes::Place;
use crate::task::Serve;
use crate::transport::{Plain, SocketState, Tcp, Tls, WebSocket};

/// Seats that are made at once, and given back when all are empty. None ever
/// moves, so that growing is no pause.
const BLOCK: usize = 256;

/// A connection. Those in TLS are boxed: they are few bytes larger, and every seat
/// would be.
pub(crate) enum Seat {
    Handshake(Handshake),
    Tcp(Serve<Tcp, Plain>),
    WebSocket(Serve<WebSocket, Plain>),
    TlsTcp(Box<Serve<Tcp, Tls>>),
    TlsWebSocket(Box<Serve<WebSocket, Tls>>),
}

/// What becomes of a handshake: the connection after its login.
type Login = Pin<Box<dyn Future<Output = Option<Seat>> + Send>>;

/// A connection before its login.
pub(crate) struct Handshake {
    login: Login,
    socket: Arc<Mutex<SocketState>>,
    place: Arc<Place>,
    is_queued: bool,
}

/// By token.
#[derive(Debug, Default)]
pub(super) struct Seats {
    blocks: Vec<Block>,
    taken: usize,
    /// Keeps the node from ending while someone is here.
    resident: Option<TaskTrackerToken>,
}

/// Holds no memory while nobody is there.
#[derive(Debug, Default)]
struct Block {
    seats: Box<[Option<Seat>]>,
    taken: usize,
}

impl Seats {
    pub(super) fn insert(&mut self, token: u32, seat: Seat, resident: TaskTrackerToken) {
        let (block, index) = position(token);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, Block::default);
        }
        let block = &mut self.blocks[block];
        if block.seats.is_empty() {
            block.seats = (0..BLOCK).map(|_| None).collect();
        }
        block.seats[index] = Some(seat);
        block.taken += 1;
        self.taken += 1;
        self.resident = Some(resident);
    }

    pub(super) fn get_mut(&mut self, token: u32) -> Option<&mut Seat> {
        let (block, index) = position(token);
        self.blocks.get_mut(block)?.seats.get_mut(index)?.as_mut()
    }

    /// Removes one that is there.
    pub(super) fn remove(&mut self, token: u32) {
        let (block, index) = position(token);
        let block = &mut self.blocks[block];
        block.seats[index] = None;
        block.taken -= 1;
        if block.taken == 0 {
            block.seats = Box::default();
        }
        self.taken -= 1;
        if self.taken == 0 {
            self.resident = None;
        }
    }
}

fn position(token: u32) -> (usize, usize) {
    let token = token as usize;
    (token / BLOCK, token % BLOCK)
}

impl Seat {
    /// Runs to the connection's end, or until it waits; its socket is `ready`.
    pub(super) fn run(&mut self, ready: Ready) -> Poll<()> {
        match self {
            Self::Handshake(handshake) => match handshake.run() {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(()),
                Poll::Ready(Some(seat)) => {
                    *self = seat;
                    self.run(ready)
                }
            },
            Self::Tcp(serve) => serve.run(ready),
            Self::WebSocket(serve) => serve.run(ready),
            Self::TlsTcp(serve) => serve.run(ready),
            Self::TlsWebSocket(serve) => serve.run(ready),
        }
    }

    /// The socket, if from now on room in it has to be waited for.
    pub(super) fn newly_full(&mut self) -> Option<RawFd> {
        match self {
            Self::Handshake(handshake) => handshake.socket.lock().newly_full(),
            Self::Tcp(serve) => serve.newly_full(),
            Self::WebSocket(serve) => serve.newly_full(),
            Self::TlsTcp(serve) => serve.newly_full(),
            Self::TlsWebSocket(serve) => serve.newly_full(),
        }
    }
}

impl Handshake {
    pub(super) fn new(login: Login, socket: Arc<Mutex<SocketState>>, place: Arc<Place>) -> Self {
        Self {
            login,
            socket,
            place,
            is_queued: false,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.lock().descriptor()
    }

    /// Has it run, woken or by its socket; `false`: it will already.
    pub(super) fn queue(&mut self, ready: Ready) -> bool {
        self.socket.lock().note(ready);
        !std::mem::replace(&mut self.is_queued, true)
    }

    fn run(&mut self) -> Poll<Option<Seat>> {
        self.is_queued = false;
        self.place.begin();
        let waker = Waker::from(Arc::clone(&self.place));
        self.login.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl From<Serve<Tcp, Plain>> for Seat {
    fn from(serve: Serve<Tcp, Plain>) -> Self {
        Self::Tcp(serve)
    }
}

impl From<Serve<WebSocket, Plain>> for Seat {
    fn from(serve: Serve<WebSocket, Plain>) -> Self {
        Self::WebSocket(serve)
    }
}

impl From<Serve<Tcp, Tls>> for Seat {
    fn from(serve: Serve<Tcp, Tls>) -> Self {
        Self::TlsTcp(Box::new(serve))
    }
}

impl From<Serve<WebSocket, Tls>> for Seat {
    fn from(serve: Serve<WebSocket, Tls>) -> Self {
        Self::TlsWebSocket(Box::new(serve))
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake(_) => "Handshake",
            Self::Tcp(_) => "Tcp",
            Self::WebSocket(_) => "WebSocket",
            Self::TlsTcp(_) => "TlsTcp",
            Self::TlsWebSocket(_) => "TlsWebSocket",
        })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::transport::Socket;

    fn seat(stream: TcpStream) -> Seat {
        let socket = Socket::new(stream);
        let state = Arc::clone(socket.state());
        let login = Box::pin(async move {
            drop(socket);
            None
        });
        Seat::Handshake(Handshake::new(login, state, Arc::new(Place::nowhere())))
    }

    #[test]
    fn a_seat_is_no_larger_than_a_plain_connection() {
        let plain = size_of::<Serve<WebSocket, Plain>>();
        assert_eq!(size_of::<Option<Seat>>(), plain);
        assert!(plain <= 96, "{plain}");
    }

    #[test]
    fn seats_are_given_back_when_everyone_has_left() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let connect = || TcpStream::connect(listener.local_addr().expect("an address"));
        let tasks = TaskTracker::new();
        let mut seats = Seats::default();
        let tokens = [0, 1, u32::try_from(3 * BLOCK).expect("small")];

        for token in tokens {
            assert!(seats.get_mut(token).is_none());
            seats.insert(token, seat(connect().expect("connected")), tasks.token());
        }
        assert!(tokens.iter().all(|token| seats.get_mut(*token).is_some()));
        assert_eq!(tasks.len(), 1);

        for token in tokens {
            seats.remove(token);
            assert!(seats.get_mut(token).is_none());
        }
        assert!(seats.blocks.iter().all(|block| block.seats.is_empty()));
        assert!(tasks.is_empty());
    }
}
