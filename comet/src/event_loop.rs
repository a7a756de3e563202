//! Where logged-in connections are served whose sockets anyone may write to.
//!
//! A task of tokio's and a socket registered with it are 512 bytes, more than
//! all the rest of an idle connection. So a few tasks serve them all: each waits
//! for its own set of sockets, and for wakes, and runs the connections that they
//! are about.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use halley_wire::CloseReason;
use parking_lot::Mutex;
use tokio::task::unconstrained;
use tokio_util::task::task_tracker::TaskTrackerToken;

mod seats;
mod sockets;
mod wakes;

pub(crate) use seats::Served;
pub(crate) use sockets::Ready;
pub(crate) use wakes::Place;

use crate::hub::Hub;
use seats::Seats;
use sockets::Sockets;
use wakes::Wakes;

/// Connections that are run before others get their turn: as many that were
/// woken, and as many whose sockets are ready.
const ROUND_MAX: usize = 128;

/// The ways into all loops of a node.
#[derive(Debug)]
pub(crate) struct EventLoops(Box<[Arc<Entrance>]>);

#[derive(Debug, Default)]
struct Entrance {
    wakes: Arc<Wakes>,
    /// Bounded by the logins under way.
    arrived: Mutex<Vec<Arrived>>,
}

#[derive(Debug)]
struct Arrived {
    served: Served,
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
}

impl EventLoops {
    /// Into these loops, of which there is at least one.
    pub(crate) fn new(loops: &[EventLoop]) -> Self {
        Self(loops.iter().map(|it| Arc::clone(&it.entrance)).collect())
    }

    /// Reserves a place for the connection that logs in with the number `login`.
    pub(crate) fn place(&self, login: u64) -> Place {
        self.of(login).wakes.place()
    }

    /// Serves a connection that has its place, and runs it for the first time.
    pub(crate) fn seat(&self, served: Served, resident: TaskTrackerToken) {
        let connection = Arc::clone(served.connection());
        let arrived = Arrived { served, resident };
        self.of(connection.id()).arrived.lock().push(arrived);
        connection.wake();
    }

    fn of(&self, login: u64) -> &Entrance {
        let loops = self.0.len() as u64;
        &self.0[usize::try_from(login % loops).unwrap_or(0)]
    }
}

impl EventLoop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            entrance: Arc::default(),
            sockets: Sockets::new(ROUND_MAX)?,
            seats: Seats::default(),
            woken: VecDeque::new(),
        })
    }

    /// Serves until the node ends.
    pub(crate) async fn run(mut self, hub: Arc<Hub>) {
        tokio::select! {
            // Many connections must not share the budget of one task.
            () = unconstrained(self.serve(&hub)) => {}
            () = hub.serving.cancelled() => {}
        }
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
        let woken = self.woken.len().min(ROUND_MAX);
        for token in self.woken.drain(..woken) {
            run(&mut self.seats, &self.sockets, token, Ready::default());
        }
        let (sockets, events) = self.sockets.take();
        let mut ready = 0;
        for (token, event) in events {
            run(&mut self.seats, sockets, token, event);
            ready += 1;
        }
        woken + ready > 0
    }

    fn admit(&mut self) {
        for Arrived { served, resident } in self.entrance.arrived.lock().drain(..) {
            let connection = served.connection();
            let (Some(place), Some(socket)) = (connection.place(), connection.socket()) else {
                continue;
            };
            if let Err(error) = self.sockets.add(socket, place.token()) {
                tracing::warn!(%error, "wait for a client's socket");
                connection.close(CloseReason::IoError);
            }
            self.seats.insert(place.token(), served, resident);
        }
    }
}

/// Runs the connection with `token`, if it has not ended meanwhile.
fn run(seats: &mut Seats, sockets: &Sockets, token: u32, ready: Ready) {
    let Some(served) = seats.get_mut(token) else {
        return;
    };
    if served.run(ready).is_ready() {
        seats.remove(token);
        return;
    }
    if !served.begins_to_wait_for_room() {
        return;
    }
    let connection = served.connection();
    if let Some(socket) = connection.socket()
        && let Err(error) = sockets.wait_for_room(socket, token)
    {
        tracing::warn!(%error, "wait for room in a client's socket");
        connection.close(CloseReason::IoError);
    }
}
