//! TLS: only the event loop reads and writes, since the cipher's state is its own.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use halley_wire::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::{Io, Socket, SocketState, Stream, end_of};
use crate::connection::{Connection, Flushed, Outgoing, Sink, SlowConsumer};
use crate::tally::Tally;

/// Boxed: the cipher's state is large beside everything else of a connection.
#[derive(Debug)]
pub(crate) struct Tls(Box<TlsStream<Socket>>);

impl Io for Tls {
    fn with_socket<R>(&mut self, look: impl FnOnce(&mut SocketState) -> R) -> R {
        look(&mut self.0.get_ref().0.state().lock())
    }

    fn poll_read(
        &mut self,
        _: &Connection,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_flush(
        &mut self,
        _: &Connection,
        outgoing: &mut Outgoing,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
        cx: &mut Context<'_>,
    ) -> Result<Flushed, CloseReason> {
        let mut sink = TlsSink {
            stream: &mut self.0,
            cx,
        };
        let flushed = outgoing.flush(&mut sink, slow_consumer, tally)?;
        match Pin::new(&mut *self.0).poll_flush(cx) {
            Poll::Ready(Ok(())) => Ok(flushed),
            Poll::Ready(Err(error)) => Err(end_of(&error)),
            Poll::Pending => Ok(Flushed::Blocked),
        }
    }

    fn take_written(&mut self) -> bool {
        self.0.get_mut().0.take_written()
    }

    fn shut_down(&mut self, _: &Connection, cx: &mut Context<'_>) {
        // One try: a peer that does not take it is not waited for.
        let _ = Pin::new(&mut *self.0).poll_shutdown(cx);
    }
}

struct TlsSink<'a, 'b> {
    stream: &'a mut TlsStream<Socket>,
    cx: &'a mut Context<'b>,
}

impl Sink for TlsSink<'_, '_> {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write_vectored(self.cx, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn full_after_partial(&self) -> bool {
        false
    }
}

impl Stream for TlsStream<Socket> {
    type Io = Tls;

    fn into_parts(self) -> (Option<TcpStream>, Tls) {
        (None, Tls(Box::new(self)))
    }
}
