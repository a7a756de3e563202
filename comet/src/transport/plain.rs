//! A socket that its event loop reads and anyone writes.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll};

use halley_wire::CloseReason;

use super::{Io, Socket, SocketState, Stream};
use crate::connection::{Connection, Flushed, Outgoing, PlainSink, SlowConsumer};
use crate::tally::Tally;

/// The socket itself belongs to the [`Connection`].
#[derive(Debug)]
pub(crate) struct Plain(SocketState);

impl Io for Plain {
    fn with_socket<R>(&mut self, look: impl FnOnce(&mut SocketState) -> R) -> R {
        look(&mut self.0)
    }

    fn poll_read(
        &mut self,
        connection: &Connection,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(plain(connection)?, buffer)
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
        let mut flushed = Flushed::Blocked;
        if self.0.take_room() || !outgoing.is_blocked() {
            flushed = outgoing.flush(&mut PlainSink(socket), slow_consumer, tally)?;
        }
        if flushed == Flushed::Blocked {
            self.0.note_full();
        }
        Ok(flushed)
    }

    fn take_written(&mut self) -> bool {
        false
    }

    fn shut_down(&mut self, connection: &Connection, _: &mut Context<'_>) {
        if let Some(socket) = connection.socket() {
            // Fails only if the peer was first.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}

fn plain(connection: &Connection) -> io::Result<&TcpStream> {
    connection
        .socket()
        .ok_or_else(|| io::Error::other("a plain connection has its socket"))
}

impl Stream for Socket {
    type Io = Plain;

    fn into_parts(self) -> (Option<TcpStream>, Plain) {
        let (stream, state) = self.take_apart();
        (Some(stream), Plain(state))
    }
}
