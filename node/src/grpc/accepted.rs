use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tonic::transport::server::Connected;
use tracing::warn;

/// A connection to a gRPC listener, with or without TLS.
///
/// The handshake runs when the connection is first read or written, so that
/// accepting the next one does not wait for it.
pub struct Accepted<IO: Connected> {
    stream: Stream<IO>,
    peer: IO::ConnectInfo,
}

enum Stream<IO> {
    Plain(IO),
    Handshake(Box<Handshake<IO>>),
    Tls(Box<TlsStream<IO>>),
    Refused,
}

struct Handshake<IO> {
    accept: Accept<IO>,
    deadline: Pin<Box<Sleep>>,
}

impl<IO: AsyncRead + AsyncWrite + Connected + Unpin> Accepted<IO> {
    pub(super) fn plain(io: IO) -> Self {
        Self {
            peer: io.connect_info(),
            stream: Stream::Plain(io),
        }
    }

    pub(super) fn tls(io: IO, acceptor: &TlsAcceptor, timeout: Duration) -> Self {
        Self {
            peer: io.connect_info(),
            stream: Stream::Handshake(Box::new(Handshake {
                accept: acceptor.accept(io),
                deadline: Box::pin(sleep(timeout)),
            })),
        }
    }

    /// The stream that bytes go through, once there is one.
    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut (dyn Io + Unpin)>>> {
        if let Stream::Handshake(handshake) = &mut self.stream {
            match ready!(handshake.poll(context)) {
                Ok(stream) => self.stream = Stream::Tls(Box::new(stream)),
                Err(error) => {
                    warn!(%error, "tls handshake of a node failed");
                    self.stream = Stream::Refused;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.stream {
            Stream::Plain(stream) => Ok(Pin::new(stream)),
            Stream::Tls(stream) => Ok(Pin::new(stream)),
            Stream::Handshake(_) | Stream::Refused => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Handshake<IO> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<TlsStream<IO>>> {
        if let Poll::Ready(accepted) = Pin::new(&mut self.accept).poll(context) {
            return Poll::Ready(accepted);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "tls handshake took too long",
        )))
    }
}

trait Io: AsyncRead + AsyncWrite {}

impl<S: AsyncRead + AsyncWrite> Io for S {}

impl<IO> AsyncRead for Accepted<IO>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin,
    IO::ConnectInfo: Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_read(context, buffer)
    }
}

impl<IO> AsyncWrite for Accepted<IO>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin,
    IO::ConnectInfo: Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(context))?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(context))?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Handshake(_) | Stream::Tls(_) | Stream::Refused => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_shutdown(context)
    }
}

impl<IO: Connected> Connected for Accepted<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}

impl<IO: Connected> fmt::Debug for Accepted<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.stream {
            Stream::Plain(_) => "plain",
            Stream::Handshake(_) => "handshake",
            Stream::Tls(_) => "tls",
            Stream::Refused => "refused",
        };
        f.debug_struct("Accepted")
            .field("stream", &state)
            .finish_non_exhaustive()
    }
}
