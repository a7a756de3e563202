//! A socket that the task reads and anyone writes.

use std::io;
use std::task::{Context, Poll, ready};

use halley_wire::CloseReason;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::{Io, Stream};
use crate::connection::{Connection, Flushed, Outgoing, PlainSink, SlowConsumer};
use crate::tally::Tally;

/// The socket itself belongs to the [`Connection`].
#[derive(Debug)]
pub(crate) struct Plain;

impl Io for Plain {
    fn poll_read(
        &mut self,
        connection: &Connection,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = plain(connection)?;
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let mut short = None;
            let read = socket.try_io(Interest::READABLE, || {
                let (read, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
                if read > 0 && read < buffer.len() {
                    // The socket is empty now. Saying so here saves a system
                    // call that would only find that out.
                    short = Some(read);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(read)
            });
            match (read, short) {
                (Ok(read), _) | (Err(_), Some(read)) => return Poll::Ready(Ok(read)),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {}
                (Err(error), None) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(
        &mut self,
        connection: &Connection,
        outgoing: &mut Outgoing,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
        cx: &mut Context<'_>,
    ) -> Result<Flushed, CloseReason> {
        let socket = plain(connection).map_err(|_| CloseReason::Internal)?;
        let mut flushed = Flushed::Blocked;
        if !outgoing.is_blocked() {
            flushed = outgoing.flush(&mut PlainSink(socket), slow_consumer, tally)?;
        }
        while flushed == Flushed::Blocked {
            match socket.poll_write_ready(cx) {
                Poll::Pending => return Ok(Flushed::Blocked),
                Poll::Ready(Ok(())) => {
                    flushed = outgoing.flush(&mut PlainSink(socket), slow_consumer, tally)?;
                }
                Poll::Ready(Err(_)) => return Err(CloseReason::IoError),
            }
        }
        Ok(flushed)
    }

    fn shut_down(&mut self, connection: &Connection, _: &mut Context<'_>) {
        if let Some(socket) = connection.socket() {
            // Fails only if the peer was first.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }
}

fn plain(connection: &Connection) -> io::Result<&TcpStream> {
    connection
        .socket()
        .ok_or_else(|| io::Error::other("a plain connection has its socket"))
}

impl Stream for TcpStream {
    type Io = Plain;

    fn into_parts(self) -> (Option<TcpStream>, Plain) {
        (Some(self), Plain)
    }
}
