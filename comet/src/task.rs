//! The life of a logged-in connection: it reads, answers and waits, and holds no
//! buffer, timer or queue while nothing happens. An event loop runs it among
//! others.

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use halley_proto::goim::protocol::Proto;
use halley_wire::{CloseReason, Header, Op};

use crate::admission::Permit;
use crate::bucket::Slot;
use crate::connection::{Connection, Flushed};
use crate::event_loop::Ready;
use crate::hub::Hub;
use crate::session::Grant;
use crate::tally::Tally;
use crate::transport::{Framing, Goodbye, Incoming, Io, SocketState, end_of};

mod answer;
mod seen_through;

pub(crate) use answer::expiry;

/// Bytes read with one system call; shared by all connections of a thread.
const READ_BYTES: usize = 16 << 10;
/// Reads and calls in a row before others get their turn.
const TURNS_MAX: usize = 4;
/// Flushes of what waits for a client whose connection ends.
const LAST_FLUSHES_MAX: usize = 16;
/// Reads of what such a client still sends.
const LAST_READS_MAX: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Something that the client's request waits for, most often logic's answer;
/// nothing is read meanwhile.
type Call = Pin<Box<dyn Future<Output = Called> + Send>>;

/// What a call came to.
enum Called {
    /// Answer this.
    Answer(Header),
    /// The client's first room is known: its login may be answered.
    LoggedIn,
    /// The client's new room is known: answer this with the room's name.
    Joined(Header, Bytes),
    /// The client's new grant.
    Refreshed(Header, Box<Grant>),
    /// The binding is gone, and with it the connection.
    Disconnected,
}

/// What came in and is not acted on yet.
struct Unread {
    bytes: Vec<u8>,
    /// Whole packets may be in it, left over when a call began.
    is_due: bool,
}

/// See the [module](self).
pub(crate) struct Serve<F, I> {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    slot: Slot,
    framing: F,
    io: I,
    unread: Option<Box<Unread>>,
    grant: Option<Box<Grant>>,
    call: Option<Call>,
    _permit: Permit,
}

impl Unread {
    fn rest(bytes: &[u8], is_due: bool) -> Option<Box<Self>> {
        let bytes = (!bytes.is_empty()).then(|| bytes.to_vec())?;
        Some(Box::new(Self { bytes, is_due }))
    }
}

impl<F: Framing, I: Io> Serve<F, I> {
    /// Takes over a connection that is registered; `read` came in after the login.
    pub(crate) fn new(
        hub: Arc<Hub>,
        connection: Arc<Connection>,
        slot: Slot,
        (framing, io): (F, I),
        read: &[u8],
        grant: Option<Box<Grant>>,
        permit: Permit,
    ) -> Self {
        Self {
            hub,
            connection,
            slot,
            framing,
            io,
            unread: Unread::rest(read, true),
            grant,
            call: None,
            _permit: permit,
        }
    }

    /// Runs to the end, or until there is nothing to do; the socket is `ready`.
    pub(crate) fn run(&mut self, ready: Ready) -> Poll<()> {
        self.io.with_socket(|socket| socket.note(ready));
        self.connection.begin();
        let waker = Waker::from(Arc::clone(&self.connection));
        let cx = &mut Context::from_waker(&waker);
        if !self.connection.outgoing().is_closed() {
            let (reason, answer) = ready!(self.run_open(cx));
            self.call = None;
            self.end(reason, answer, cx);
        }
        self.pass_over_input(cx);
        match &mut self.call {
            Some(call) => call.as_mut().poll(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// The socket, if from now on room in it has to be waited for.
    pub(crate) fn newly_full(&mut self) -> Option<RawFd> {
        self.io.with_socket(SocketState::newly_full)
    }

    /// Runs until there is nothing to do or a reason to close.
    fn run_open(&mut self, cx: &mut Context<'_>) -> Poll<(CloseReason, Option<u16>)> {
        for _ in 0..TURNS_MAX {
            let closing = self.connection.closing();
            if let Some(reason) = closing
                && !self.may_stay(reason)
            {
                return Poll::Ready((reason, None));
            }
            let is_blocked = match self.flush(cx) {
                Ok(Flushed::All) if let Some(reason) = closing => {
                    return Poll::Ready((reason, None));
                }
                Ok(Flushed::All) => false,
                Ok(Flushed::Blocked) => true,
                Ok(Flushed::More) => continue,
                Err(reason) => return Poll::Ready((reason, None)),
            };
            if let Some(call) = &mut self.call {
                let called = ready!(call.as_mut().poll(cx));
                self.call = None;
                self.finish_call(called);
                continue;
            }
            // A client that does not read its answers is not read from either.
            if is_blocked && self.connection.outgoing().has_reply() {
                return Poll::Pending;
            }
            if let Err(end) = ready!(self.poll_packets(cx)) {
                return Poll::Ready(end);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<Flushed, CloseReason> {
        let mut tally = Tally::default();
        let mut outgoing = self.connection.outgoing();
        if outgoing.is_held_back() {
            return Ok(Flushed::All);
        }
        let flushed = self.io.poll_flush(
            &self.connection,
            &mut outgoing,
            self.hub.rules.slow_consumer,
            &mut tally,
            cx,
        );
        let is_blocked = matches!(flushed, Ok(Flushed::Blocked));
        outgoing.set_blocked(is_blocked);
        let has_moved = tally.bytes > 0 || self.io.take_written();
        if !is_blocked || has_moved {
            self.connection.set_blocked(None);
        }
        if is_blocked {
            self.connection.set_blocked(Some(self.hub.now()));
        }
        drop(outgoing);
        tally.report(&self.hub.metrics);
        flushed
    }

    /// Reads once and acts on every whole packet, up to one that needs logic.
    fn poll_packets(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), (CloseReason, Option<u16>)>> {
        if let Some(unread) = self.unread.take_if(|unread| unread.is_due) {
            return Poll::Ready(self.act_on(unread));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let read = match ready!(self.io.poll_read(&self.connection, cx, scratch)) {
                Ok(0) => return Poll::Ready(Err((CloseReason::PeerClosed, None))),
                Ok(read) => read,
                Err(error) => return Poll::Ready(Err((end_of(&error), None))),
            };
            let input = &mut scratch[..read];
            if let Some(mut unread) = self.unread.take() {
                unread.bytes.extend_from_slice(input);
                return Poll::Ready(self.act_on(unread));
            }
            Poll::Ready(self.act(input).map(|consumed| {
                self.unread = Unread::rest(&input[consumed..], self.call.is_some());
            }))
        })
    }

    fn act_on(&mut self, mut unread: Box<Unread>) -> Result<(), (CloseReason, Option<u16>)> {
        let consumed = self.act(&mut unread.bytes)?;
        self.unread = if consumed == 0 {
            unread.is_due = false;
            Some(unread)
        } else {
            // What is left may be little of much.
            Unread::rest(&unread.bytes[consumed..], self.call.is_some())
        };
        Ok(())
    }

    /// Acts on the packets at the front of `input` and returns how much they were.
    fn act(&mut self, input: &mut [u8]) -> Result<usize, (CloseReason, Option<u16>)> {
        let limits = self.hub.framing_limits();
        let mut framing = std::mem::take(&mut self.framing);
        let mut replies = Vec::new();
        let mut consumed = 0;
        let mut result = Ok(());
        while self.call.is_none() && consumed < input.len() {
            let (taken, incoming) = match framing.next(&mut input[consumed..], limits) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(reason) => {
                    result = Err((reason, None));
                    break;
                }
            };
            consumed += taken;
            match incoming {
                Incoming::Packet(packet) => self.on_packet(&packet, &mut replies),
                Incoming::Ping(payload) => F::encode_pong(&mut replies, payload),
                Incoming::Close(code) => {
                    result = Err((CloseReason::PeerClosed, Some(code.unwrap_or(0))));
                    break;
                }
                Incoming::Pong | Incoming::Fragment => {}
            }
        }
        self.framing = framing;
        if !replies.is_empty() {
            self.reply(replies);
        }
        result.map(|()| consumed)
    }

    fn reply(&self, replies: Vec<u8>) {
        let mut tally = Tally::default();
        self.connection.reply(replies, self.hub.now(), &mut tally);
        tally.report(&self.hub.metrics);
    }

    /// Whether a client that is sent away is served until it has all that waits
    /// for it.
    fn may_stay(&self, reason: CloseReason) -> bool {
        reason == CloseReason::Draining && !self.hub.leaving.is_cancelled()
    }

    /// Reads what came after the end. A socket that is closed with something
    /// unread takes back what was written to it and has not arrived.
    fn pass_over_input(&mut self, cx: &mut Context<'_>) {
        if self.connection.closing() == Some(CloseReason::PeerClosed) {
            return;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..LAST_READS_MAX {
                let read = self.io.poll_read(&self.connection, cx, scratch);
                if !matches!(read, Poll::Ready(Ok(1..))) {
                    return;
                }
            }
        });
    }

    /// Ends the connection for everyone else, then says goodbye: nothing may follow that.
    fn end(&mut self, reason: CloseReason, answer: Option<u16>, cx: &mut Context<'_>) {
        // The sweep and others may still ask for a close; this one is the reason.
        self.connection.close(reason);
        self.connection.outgoing().hold_back(false);
        let is_whole = reason != CloseReason::IoError && self.send_what_waits(cx);
        let identity = self.hub.end(&self.connection, self.slot);
        if is_whole {
            self.say_goodbye(reason, answer, cx);
        }
        self.io.shut_down(&self.connection, cx);
        self.hub.metrics.connections.dec();
        self.hub.metrics.closed(reason);
        tracing::debug!(reason = reason.as_str(), "connection closed");
        // A connection that was replaced has no binding of its own any more.
        self.call = identity.map(|identity| {
            let hub = Arc::clone(&self.hub);
            let number = self.connection.id();
            let call: Call = Box::pin(async move {
                hub.calls.disconnect(number, identity).await;
                Called::Disconnected
            });
            call
        });
    }

    /// Writes what was pushed until now, as far as the socket takes it;
    /// `false`: it stopped where nothing else may be written.
    fn send_what_waits(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..LAST_FLUSHES_MAX {
            match self.flush(cx) {
                Ok(Flushed::More) => {}
                Ok(Flushed::All) => return true,
                Ok(Flushed::Blocked) | Err(_) => return false,
            }
        }
        true
    }

    fn say_goodbye(&mut self, reason: CloseReason, answer: Option<u16>, cx: &mut Context<'_>) {
        let drain = &self.hub.config.drain;
        let ms = |pause: std::time::Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let goodbye = Goodbye {
            reason,
            answer: answer.filter(|code| *code != 0),
            reconnect_ms: (ms(drain.reconnect_min), ms(drain.reconnect_max)),
        };
        let mut bytes = Vec::new();
        if reason != CloseReason::PeerClosed || answer.is_some() {
            F::encode_goodbye(&mut bytes, &goodbye);
        }
        if !bytes.is_empty() {
            self.reply(bytes);
            // Best effort: a client that does not take it learns from the end of the stream.
            let _ = self.flush(cx);
        }
    }
}

/// goim's packet as it travels between nodes.
fn proto(header: Header, body: &[u8]) -> Proto {
    Proto {
        ver: i32::from(header.ver),
        op: header.op.0,
        seq: header.seq,
        body: Bytes::copy_from_slice(body),
    }
}

/// Whether a forwarded operation is answered: goim writes a raw packet to TCP
/// clients without its header, and this one has no body either.
fn is_answered<F: Framing>(op: Op) -> bool {
    F::DIALECT == crate::frame::Dialect::WebSocket || op != Op::RAW
}
