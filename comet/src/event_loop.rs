//! Where clients' connections are run, from the handshake to the end.
//!
//! A task of tokio's and a socket registered with it are 512 bytes, more than
//! all the rest of an idle connection. So a few tasks run them all: each waits
//! for its own set of sockets, and for wakes, and runs the connections that they
//! are about. Those that have logged in go before handshakes.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::task::unconstrained;
use tokio_util::task::task_tracker::TaskTrackerToken;

mod seats;
mod sockets;
#[cfg(test)]
mod tests;
mod wakes;

pub(crate) use seats::Seat;
pub(crate) use sockets::Ready;
pub(crate) use wakes::{Place, Wakes};

use crate::hub::Hub;
use crate::transport::Socket;
use seats::{Handshake, Seats};
use sockets::Sockets;

/// Logged-in connections that are run before other tasks get their turn: as many
/// that were woken, and as many whose sockets are ready.
const RUNS_MAX: usize = 32;
/// Handshakes that go on between these.
const HANDSHAKES_MAX: usize = 8;

/// The ways into all loops of a node.
#[derive(Debug)]
pub(crate) struct EventLoops {
    entrances: Box<[Arc<Entrance>]>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entrance {
    wakes: Arc<Wakes>,
    /// Bounded by the handshakes under way.
    arrived: Mutex<Vec<Arrived>>,
}

#[derive(Debug)]
struct Arrived {
    token: u32,
    handshake: Handshake,
    /// Keeps the node from ending meanwhile.
    resident: TaskTrackerToken,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct EventLoop {
    entrance: Arc<Entrance>,
    sockets: Sockets,
    seats: Seats,
    woken: VecDeque<u32>,
    /// Each is in there once.
    handshakes: VecDeque<u32>,
}

impl EventLoops {
    /// Into these loops, of which there is at least one.
    pub(crate) fn new(loops: &[EventLoop]) -> Self {
        Self {
            entrances: loops.iter().map(|it| Arc::clone(&it.entrance)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs the connection of `stream` in one of the loops. It begins with the
    /// handshake that is made of its socket and of the connection's place.
    pub(crate) fn spawn<H>(
        &self,
        stream: TcpStream,
        resident: TaskTrackerToken,
        handshake: impl FnOnce(Socket, Place) -> H,
    ) where
        H: Future<Output = Option<Seat>> + Send + 'static,
    {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let entrance = &self.entrances[next % self.entrances.len()];
        let wakes = &entrance.wakes;
        let token = wakes.token();
        let here = Arc::new(Place::new(Arc::clone(wakes), token));
        let socket = Socket::new(stream);
        let state = Arc::clone(socket.state());
        let login = handshake(socket, Place::new(Arc::clone(wakes), token));
        entrance.arrived.lock().push(Arrived {
            token,
            handshake: Handshake::new(Box::pin(login), state, Arc::clone(&here)),
            resident,
        });
        here.wake();
    }
}

impl EventLoop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            entrance: Arc::default(),
            sockets: Sockets::new(RUNS_MAX)?,
            seats: Seats::default(),
            woken: VecDeque::new(),
            handshakes: VecDeque::new(),
        })
    }

    /// Runs until the node ends.
    pub(crate) async fn run(mut self, hub: Arc<Hub>) {
        // Many connections must not share the budget of one task.
        let serve = unconstrained(self.serve(&hub));
        hub.serving.run_until_cancelled(serve).await;
    }

    async fn serve(&mut self, hub: &Hub) {
        loop {
            poll_fn(|cx| self.poll_due(cx)).await;
            let mut turn = hub.turns.begin();
            while self.run_due() {
                turn.pass().await;
            }
        }
    }

    /// Waits until there may be something to do.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.entrance.wakes.poll_any(cx).is_ready() {
            return Poll::Ready(());
        }
        self.sockets.poll_any(cx)
    }

    /// Runs some of those that are due; `false`: nobody was.
    fn run_due(&mut self) -> bool {
        if self.woken.is_empty() {
            self.entrance.wakes.take(&mut self.woken);
        }
        // Whoever was woken has arrived before.
        self.admit();
        let (sockets, events) = self.sockets.take();
        let mut due = Due {
            wakes: &self.entrance.wakes,
            sockets,
            seats: &mut self.seats,
            handshakes: &mut self.handshakes,
            count: 0,
        };
        let woken = self.woken.len().min(RUNS_MAX);
        for token in self.woken.drain(..woken) {
            due.run_or_queue(token, Ready::default());
        }
        for (token, ready) in events {
            due.run_or_queue(token, ready);
        }
        for _ in 0..HANDSHAKES_MAX {
            due.run_next_handshake();
        }
        due.count > 0
    }

    fn admit(&mut self) {
        // Whoever accepts does not wait for what follows.
        let arrived = mem::take(&mut *self.entrance.arrived.lock());
        for Arrived {
            token,
            handshake,
            resident,
        } in arrived
        {
            match self.sockets.add(handshake.descriptor(), token) {
                Ok(()) => {
                    let seat = Seat::Handshake(handshake);
                    self.seats.insert(token, seat, resident);
                }
                Err(error) => {
                    tracing::warn!(%error, "wait for a client's socket");
                    self.entrance.wakes.free(token);
                }
            }
        }
    }
}

/// A round of runs.
struct Due<'a> {
    wakes: &'a Wakes,
    sockets: &'a Sockets,
    seats: &'a mut Seats,
    handshakes: &'a mut VecDeque<u32>,
    count: usize,
}

impl Due<'_> {
    fn run_or_queue(&mut self, token: u32, ready: Ready) {
        self.count += 1;
        if let Some(Seat::Handshake(handshake)) = self.seats.get_mut(token) {
            if handshake.queue(ready) {
                self.handshakes.push_back(token);
            }
        } else {
            self.run(token, ready);
        }
    }

    fn run_next_handshake(&mut self) {
        if let Some(token) = self.handshakes.pop_front() {
            self.count += 1;
            self.run(token, Ready::default());
        }
    }

    fn run(&mut self, token: u32, ready: Ready) {
        // It may have ended meanwhile.
        let Some(seat) = self.seats.get_mut(token) else {
            return;
        };
        if seat.run(ready).is_ready() {
            self.seats.remove(token);
            self.wakes.free(token);
        } else if let Some(descriptor) = seat.newly_full()
            && let Err(error) = self.sockets.wait_for_room(descriptor, token)
        {
            // Its deadline to write, or that of its handshake, ends it.
            tracing::warn!(%error, "wait for room in a client's socket");
        }
    }
}
