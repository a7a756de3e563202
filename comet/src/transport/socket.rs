//! A client's socket, as the event loop that waits for it knows it.

use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::event_loop::Ready;

/// What is known of a socket without asking it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketState {
    descriptor: RawFd,
    /// What it became ready for, each until that is used up.
    ready: Ready,
    waits_for_room: Waits,
}

/// Only a socket that was ever full is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Never,
    /// From now on; its loop does not know yet.
    Newly,
    Always,
}

impl SocketState {
    fn new(socket: &TcpStream) -> Self {
        Self {
            descriptor: socket.as_raw_fd(),
            ready: Ready::default(),
            waits_for_room: Waits::Never,
        }
    }

    pub(crate) fn descriptor(self) -> RawFd {
        self.descriptor
    }

    /// Takes note of what the socket became ready for.
    pub(crate) fn note(&mut self, ready: Ready) {
        self.ready.to_read |= ready.to_read;
        self.ready.to_end |= ready.to_end;
        self.ready.to_write |= ready.to_write;
    }

    /// The socket, if from now on room in it has to be waited for.
    pub(crate) fn newly_full(&mut self) -> Option<RawFd> {
        if self.waits_for_room != Waits::Newly {
            return None;
        }
        self.waits_for_room = Waits::Always;
        Some(self.descriptor)
    }

    /// Takes note that it has no room now.
    pub(super) fn note_full(&mut self) {
        if self.waits_for_room == Waits::Never {
            self.waits_for_room = Waits::Newly;
        }
    }

    /// Whether there may be room since it was last full; asked once.
    pub(super) fn take_room(&mut self) -> bool {
        mem::take(&mut self.ready.to_write)
    }

    /// Reads what is there; 0: the peer has closed.
    pub(super) fn poll_read(
        &mut self,
        socket: &TcpStream,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.ready.to_read {
            return Poll::Pending;
        }
        match retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::empty())) {
            Ok((read, _)) => {
                // After a short read the socket is empty, and what comes then is told.
                self.ready.to_read = read == buffer.len() || self.ready.to_end;
                Poll::Ready(Ok(read))
            }
            Err(Errno::AGAIN) => {
                self.ready.to_read = false;
                // It was told of the socket that had the place before.
                self.ready.to_end = false;
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// A socket that only its event loop uses: every connection's in its handshake,
/// and then those in TLS.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    state: Arc<Mutex<SocketState>>,
    /// Whether it took something since it was asked last.
    has_written: bool,
}

impl Socket {
    /// `stream` does not block.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let state = Arc::new(Mutex::new(SocketState::new(&stream)));
        Self {
            stream,
            state,
            has_written: false,
        }
    }

    /// For the loop, which runs whoever has the socket after each change.
    pub(crate) fn state(&self) -> &Arc<Mutex<SocketState>> {
        &self.state
    }

    pub(super) fn take_apart(self) -> (TcpStream, SocketState) {
        let state = *self.state.lock();
        (self.stream, state)
    }

    /// Whether it took something; asked once.
    pub(super) fn take_written(&mut self) -> bool {
        mem::take(&mut self.has_written)
    }

    fn written(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.state.lock().note_full();
                Poll::Pending
            }
            written => {
                self.has_written = true;
                Poll::Ready(written)
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buffer.initialize_unfilled();
        let read = self.state.lock().poll_read(&self.stream, space);
        read.map_ok(|read| buffer.advance(read))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = (&self.stream).write(bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = (&self.stream).write_vectored(slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}
