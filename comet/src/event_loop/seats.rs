//! The connections of one loop, by token.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Ready;
use crate::connection::Connection;
use crate::task::Serve;
use crate::transport::{Plain, Tcp, WebSocket};

/// Seats that are made at once. None ever moves, so that growing is no pause.
const BLOCK: usize = 256;

/// A connection and how it is served.
pub(crate) enum Served {
    Tcp(Serve<Tcp, Plain>),
    WebSocket(Serve<WebSocket, Plain>),
}

#[derive(Debug, Default)]
pub(super) struct Seats {
    blocks: Vec<Box<[Option<Served>]>>,
    taken: usize,
    /// Keeps the node from ending while someone is here.
    resident: Option<TaskTrackerToken>,
}

impl Seats {
    pub(super) fn insert(&mut self, token: u32, served: Served, resident: TaskTrackerToken) {
        let (block, index) = place(token);
        while self.blocks.len() <= block {
            self.blocks.push((0..BLOCK).map(|_| None).collect());
        }
        self.blocks[block][index] = Some(served);
        self.taken += 1;
        self.resident = Some(resident);
    }

    pub(super) fn get_mut(&mut self, token: u32) -> Option<&mut Served> {
        let (block, index) = place(token);
        self.blocks.get_mut(block)?[index].as_mut()
    }

    pub(super) fn remove(&mut self, token: u32) {
        let (block, index) = place(token);
        if self.blocks[block][index].take().is_some() {
            self.taken -= 1;
        }
        if self.taken == 0 {
            self.resident = None;
        }
    }
}

fn place(token: u32) -> (usize, usize) {
    let token = token as usize;
    (token / BLOCK, token % BLOCK)
}

impl Served {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        match self {
            Self::Tcp(serve) => serve.connection(),
            Self::WebSocket(serve) => serve.connection(),
        }
    }

    /// Runs the connection, whose socket is `ready` for something, to its end or
    /// until it waits.
    pub(super) fn run(&mut self, ready: Ready) -> Poll<()> {
        match self {
            Self::Tcp(serve) => serve.run_in_loop(ready),
            Self::WebSocket(serve) => serve.run_in_loop(ready),
        }
    }

    /// Whether from now on its loop has to wait for room in the socket.
    pub(super) fn begins_to_wait_for_room(&mut self) -> bool {
        match self {
            Self::Tcp(serve) => serve.begins_to_wait_for_room(),
            Self::WebSocket(serve) => serve.begins_to_wait_for_room(),
        }
    }
}

impl From<Serve<Tcp, Plain>> for Served {
    fn from(serve: Serve<Tcp, Plain>) -> Self {
        Self::Tcp(serve)
    }
}

impl From<Serve<WebSocket, Plain>> for Served {
    fn from(serve: Serve<WebSocket, Plain>) -> Self {
        Self::WebSocket(serve)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(self.connection()).finish()
    }
}
