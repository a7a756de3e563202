//! An accepted connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A TCP connection that counts against its listener's limit, and fails when
/// its peer takes nothing for too long, or when the process ends.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Cancelled when the process ends.
    now: Pin<Box<WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        write_timeout: Duration,
        now: &CancellationToken,
    ) -> Self {
        Self {
            stream,
            now: Box::pin(now.clone().cancelled_owned()),
            write_timeout,
            stalled: None,
            _permit: permit,
        }
    }

    /// Passes on how a write went, unless it has waited for too long.
    fn watch(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "peer does not read",
        )))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // A server waits for something to read again and again, so this is where
        // it learns of the end.
        if read.is_pending() && self.now.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;
    use crate::testing::PATIENCE;

    async fn pair(write_timeout: Duration, now: &CancellationToken) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (Socket::new(stream, permit, write_timeout, now), peer)
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let now = CancellationToken::new();
        let (mut socket, _peer) = pair(Duration::from_millis(100), &now).await;

        let written = timeout(PATIENCE, socket.write_all(&vec![0; 64 << 20])).await;

        let error = written.expect("an end in time").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_is_not_given_up() {
        const BYTES: usize = 32 << 20;
        let now = CancellationToken::new();
        let (mut socket, mut peer) = pair(PATIENCE, &now).await;

        let (written, read) = tokio::join!(
            async {
                socket.write_all(&vec![0; BYTES]).await.unwrap();
                socket.shutdown().await
            },
            async {
                let mut bytes = 0;
                let mut buffer = vec![0; 1 << 20];
                loop {
                    tokio::task::yield_now().await;
                    match peer.read(&mut buffer).await.unwrap() {
                        0 => return bytes,
                        count => bytes += count,
                    }
                }
            }
        );

        written.unwrap();
        assert_eq!(read, BYTES);
    }

    #[tokio::test]
    async fn the_end_of_the_process_ends_the_wait_for_a_peer() {
        let now = CancellationToken::new();
        let (mut socket, _peer) = pair(PATIENCE, &now).await;

        let (read, ()) = tokio::join!(socket.read_u8(), async {
            tokio::task::yield_now().await;
            now.cancel();
        });

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
