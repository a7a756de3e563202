//! A set of sockets that is waited for as one.

use std::io;
use std::os::fd::RawFd;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

use crate::watch::{Watched, watch};

/// See the [module](self). Each thing is told once, when it becomes true.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: mio::Poll,
    events: Events,
    /// Readable when there is an event.
    any: Watched,
}

/// What a socket became ready for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    /// To be read.
    pub(crate) to_read: bool,
    /// To be read to its end, for good.
    pub(crate) to_end: bool,
    /// To be written, after there was no room.
    pub(crate) to_write: bool,
}

impl From<&Event> for Ready {
    fn from(event: &Event) -> Self {
        let is_over = event.is_read_closed() || event.is_error();
        Self {
            to_read: event.is_readable() || is_over,
            to_end: is_over,
            to_write: event.is_writable() || event.is_write_closed() || event.is_error(),
        }
    }
}

impl Sockets {
    /// None yet, and at most so many events at once.
    pub(super) fn new(events_max: usize) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        Ok(Self {
            any: watch(poll.registry())?,
            poll,
            events: Events::with_capacity(events_max),
        })
    }

    /// Waits for `socket` to become readable, until it is closed.
    pub(super) fn add(&self, socket: RawFd, token: u32) -> io::Result<()> {
        let (registry, token) = (self.poll.registry(), Token(token as usize));
        registry.register(&mut SourceFd(&socket), token, Interest::READABLE)
    }

    /// Waits for room in `socket`, too.
    pub(super) fn wait_for_room(&self, socket: RawFd, token: u32) -> io::Result<()> {
        let (registry, token) = (self.poll.registry(), Token(token as usize));
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.reregister(&mut SourceFd(&socket), token, both)
    }

    /// Waits for an event.
    pub(super) fn poll_any(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.any.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // With an error the runtime ends, and this task with it.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes the next events.
    pub(super) fn take(&mut self) -> (&Self, impl Iterator<Item = (u32, Ready)>) {
        self.events.clear();
        // The error, if it is not that there are no more, is a signal's.
        let _ = self.any.try_io(tokio::io::Interest::READABLE, || {
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            if self.events.iter().count() < self.events.capacity() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        let events = self.events.iter().map(|event| {
            let token = u32::try_from(event.token().0).unwrap_or(u32::MAX);
            (token, Ready::from(event))
        });
        (&*self, events)
    }
}
