//! A socket that its event loop reads and anyone writes.

use std::io;
use std::mem;
use std::net::TcpStream;
use std::task::{Context, Poll, Waker};

use halley_wire::CloseReason;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};

use super::{Io, Stream};
use crate::connection::{Connection, Flushed, Outgoing, PlainSink, Runner, SlowConsumer};
use crate::event_loop::{EventLoops, Ready};
use crate::tally::Tally;

/// What is known of the socket, which itself belongs to the [`Connection`].
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// What it was ready for, each until that is used up.
    ready: Ready,
    waits_for_room: Waits,
}

/// Only a socket that was ever full is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    Never,
    /// From now on; its loop does not know yet.
    Begins,
    Always,
}

impl Plain {
    /// Takes note of what the socket became ready for.
    pub(crate) fn note(&mut self, ready: Ready) {
        self.ready.to_read |= ready.to_read;
        self.ready.to_end |= ready.to_end;
        self.ready.to_write |= ready.to_write;
    }

    /// Whether from now on its loop has to wait for room in the socket.
    pub(crate) fn begins_to_wait_for_room(&mut self) -> bool {
        let begins = self.waits_for_room == Waits::Begins;
        if begins {
            self.waits_for_room = Waits::Always;
        }
        begins
    }
}

impl Io for Plain {
    fn poll_read(
        &mut self,
        connection: &Connection,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.ready.to_read {
            return Poll::Pending;
        }
        let socket = plain(connection)?;
        match retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty())) {
            Ok((read, _)) => {
                // After a short read the socket is empty, and what comes then is an event.
                self.ready.to_read = read == buffer.len() || self.ready.to_end;
                Poll::Ready(Ok(read))
            }
            Err(Errno::AGAIN) => {
                self.ready.to_read = false;
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_flush(
        &mut self,
        connection: &Connection,
        outgoing: &mut Outgoing,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
        _: &mut Context<'_>,
    ) -> Result<Flushed, CloseReason> {
        let socket = plain(connection).map_err(|_| CloseReason::Internal)?;
        let has_room = mem::take(&mut self.ready.to_write);
        let mut flushed = Flushed::Blocked;
        if has_room || !outgoing.is_blocked() {
            flushed = outgoing.flush(&mut PlainSink(socket), slow_consumer, tally)?;
        }
        if flushed == Flushed::Blocked && self.waits_for_room == Waits::Never {
            self.waits_for_room = Waits::Begins;
        }
        Ok(flushed)
    }

    fn shut_down(&mut self, connection: &Connection, _: &mut Context<'_>) {
        if let Some(socket) = connection.socket() {
            // Fails only if the peer was first.
            let _ = shutdown(socket, Shutdown::Write);
        }
    }
}

fn plain(connection: &Connection) -> io::Result<&TcpStream> {
    connection
        .socket()
        .ok_or_else(|| io::Error::other("a plain connection has its socket"))
}

impl Stream for tokio::net::TcpStream {
    type Io = Plain;

    fn runner(loops: &EventLoops, login: u64, _: Waker) -> Runner {
        Runner::Loop(loops.place(login))
    }

    fn into_parts(self) -> io::Result<(Option<TcpStream>, Plain)> {
        Ok((Some(self.into_std()?), Plain::default()))
    }
}
