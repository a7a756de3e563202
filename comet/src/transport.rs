//! How bytes come and go: framing is the protocol's side, I/O the socket's.
//!
//! Both are type parameters of a connection, so that nothing is looked
//! up per packet and an idle connection holds only what its transport needs.

use std::io;
use std::net::TcpStream;
use std::task::{Context, Poll};

use halley_wire::{CloseReason, Header, PacketRef};
use tokio::io::{AsyncRead, AsyncWrite};

mod plain;
mod socket;
mod tcp;
mod tls;
mod websocket;

pub(crate) use plain::Plain;
pub(crate) use socket::{Socket, SocketState};
pub(crate) use tcp::Tcp;
pub(crate) use tls::Tls;
pub(crate) use websocket::{WebSocket, upgrade};

use crate::connection::{Connection, Flushed, Outgoing, SlowConsumer};
use crate::frame::Dialect;
use crate::tally::Tally;

/// Bounds on what a client sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramingLimits {
    pub(crate) body_bytes_max: usize,
    pub(crate) fragments_max: usize,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// A packet.
    Packet(PacketRef<'a>),
    /// To be answered at once with the same payload.
    Ping(&'a [u8]),
    /// The peer says goodbye, with this code if any.
    Close(Option<u16>),
    /// The answer to a ping; nothing to do.
    Pong,
    /// A part of a message that goes on; nothing to do.
    Fragment,
}

/// How packets travel in a stream of bytes.
pub(crate) trait Framing: Default + Send + Unpin + 'static {
    /// Which of a room's logs its connections read.
    const DIALECT: Dialect;

    /// Takes one thing from the front of `input` and says how many bytes it
    /// was; `None`: it is not all there yet.
    fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: FramingLimits,
    ) -> Result<Option<(usize, Incoming<'a>)>, CloseReason>;

    /// Appends a packet.
    fn encode(out: &mut Vec<u8>, header: Header, body: &[u8]);

    /// Appends the answer to a ping.
    fn encode_pong(out: &mut Vec<u8>, payload: &[u8]);

    /// Appends the goodbye to a client that is closed for `reason`.
    fn encode_goodbye(out: &mut Vec<u8>, goodbye: &Goodbye);
}

/// What a client is told at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goodbye {
    pub(crate) reason: CloseReason,
    /// The code of the peer's own close frame.
    pub(crate) answer: Option<u16>,
    /// Bounds of the pause before it should reconnect, in milliseconds.
    pub(crate) reconnect_ms: (u64, u64),
}

/// The socket's side of a connection.
pub(crate) trait Io: Send + Unpin + 'static {
    /// Gives access to what is known of the socket.
    fn with_socket<R>(&mut self, look: impl FnOnce(&mut SocketState) -> R) -> R;

    /// Reads what is there; 0: the peer has closed.
    fn poll_read(
        &mut self,
        connection: &Connection,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    /// Writes what waits. After [`Flushed::Blocked`] the connection is run when
    /// there is room again.
    fn poll_flush(
        &mut self,
        connection: &Connection,
        outgoing: &mut Outgoing,
        slow_consumer: SlowConsumer,
        tally: &mut Tally,
        cx: &mut Context<'_>,
    ) -> Result<Flushed, CloseReason>;

    /// Whether the socket took something that is not in a tally, since it was asked
    /// last: what is in a record counts when the record is made.
    fn take_written(&mut self) -> bool;

    /// Says on the socket that nothing more will come; best effort.
    fn shut_down(&mut self, connection: &Connection, cx: &mut Context<'_>);
}

/// Why a connection ends whose socket fails with `error`.
pub(crate) fn end_of(error: &io::Error) -> CloseReason {
    let has_left = matches!(
        error.kind(),
        // The last one: with TLS many clients leave without a word.
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    );
    if has_left {
        CloseReason::PeerClosed
    } else {
        CloseReason::IoError
    }
}

/// A stream during the handshake, which owns it alone.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Its I/O after the handshake.
    type Io: Io;

    /// The socket, if others than the event loop may write to it, and the loop's side.
    fn into_parts(self) -> (Option<TcpStream>, Self::Io);
}
