//! A bounded queue of parts: of one lane, or for one comet in another process.
//!
//! It has one end that puts parts in and one that takes them out. Unlike a
//! channel it hands out everything that waits at once, and ends parts whose
//! deadline has passed while they wait.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use crate::metrics::Outcome;
use crate::record::{Part, Target};

/// What may wait in a queue. It takes a part as long as it is below both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) parts_max: usize,
    pub(crate) bytes_max: usize,
}

pub(crate) struct Queue {
    server: Arc<str>,
    bounds: Bounds,
    state: Mutex<State>,
    /// Parts came, or the other end closed.
    arrived: Notify,
    /// Parts left.
    freed: Notify,
    /// Who waits for room is to wait no longer.
    hurried: Notify,
    queued: Gauge,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Part>,
    bytes: usize,
    /// No part is due before.
    earliest: Option<Instant>,
    /// No part is going to come.
    is_closed: bool,
    /// No part is ever going to be taken out.
    has_ended: bool,
    /// It was full then, and has not recovered since.
    full_since: Option<Instant>,
    /// It stayed full for as long as it may.
    is_stalled: bool,
}

/// The end that puts parts in. The queue is closed when it is dropped.
pub(crate) struct Inlet(Arc<Queue>);

/// The end that takes parts out. Dropped, it returns the rest to the log.
pub(crate) struct Outlet(Arc<Queue>);

/// Why a part was not taken.
pub(crate) enum Refused {
    /// There is no room now.
    Full(Part),
    /// The end that takes them out is gone, and the part is returned to the log.
    Ended,
}

/// How long a full queue is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    /// From when it became full, until it has recovered.
    UpTo(Duration),
    UntilDeadline,
}

/// What waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) parts: usize,
    /// No part is due before.
    pub(crate) earliest: Option<Instant>,
}

/// A queue of parts for `server`.
pub(crate) fn queue(server: Arc<str>, bounds: Bounds, queued: Gauge) -> (Inlet, Outlet) {
    let queue = Arc::new(Queue {
        server,
        bounds,
        state: Mutex::default(),
        arrived: Notify::new(),
        freed: Notify::new(),
        hurried: Notify::new(),
        queued,
    });
    (Inlet(Arc::clone(&queue)), Outlet(queue))
}

impl Queue {
    /// Puts a part at the end if there is room now.
    pub(crate) fn offer(&self, part: Part) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.has_ended {
            return Err(Refused::Ended);
        }
        if state.is_full(self.bounds) {
            state.full_since.get_or_insert_with(Instant::now);
            return Err(Refused::Full(part));
        }
        if state.has_recovered(self.bounds) {
            state.full_since = None;
            state.is_stalled = false;
        }
        state.bytes += bytes(&part);
        state.note_due(&part);
        state.parts.push_back(part);
        drop(state);
        self.queued.inc();
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts a part at the end, or ends it if there is no room for too long.
    /// False if nobody takes parts out any more.
    ///
    /// # Cancel safety
    ///
    /// The part of a call that is dropped is returned to the log.
    pub(crate) async fn put(&self, part: Part, patience: Patience) -> bool {
        let mut part = match self.offer(part) {
            Ok(()) => return true,
            Err(Refused::Ended) => return false,
            Err(Refused::Full(part)) => part,
        };
        let deadline = part.record.deadline;
        let until = match patience {
            Patience::UntilDeadline => deadline,
            Patience::UpTo(wait) => {
                let full_since = self.state.lock().full_since;
                deadline.min(full_since.unwrap_or_else(Instant::now) + wait)
            }
            Patience::None => {
                part.end(Outcome::QueueFull);
                return true;
            }
        };
        while self.has_freed(until).await {
            part = match self.offer(part) {
                Ok(()) => return true,
                Err(Refused::Ended) => return false,
                Err(Refused::Full(part)) => part,
            };
        }
        if !std::mem::replace(&mut self.state.lock().is_stalled, true) {
            warn!(server = %self.server, "queue stays full");
        }
        let is_expired = deadline <= Instant::now();
        part.end(if is_expired {
            Outcome::Expired
        } else {
            Outcome::QueueFull
        });
        true
    }

    /// Waits for room; `false` if that was long enough.
    pub(crate) async fn has_freed(&self, until: Instant) -> bool {
        tokio::select! {
            () = self.freed.notified() => true,
            () = self.hurried.notified() => false,
            () = tokio::time::sleep_until(until) => false,
        }
    }

    /// Whoever [puts](Self::put) a part waits no longer.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_waiters();
    }

    pub(crate) fn glance(&self) -> Glance {
        let state = self.state.lock();
        Glance {
            parts: state.parts.len(),
            earliest: state.earliest,
        }
    }

    /// Waits for a part, and says whether the first one is for a room. `None`
    /// when the queue is empty and closed.
    pub(crate) async fn first_is_for_room(&self) -> Option<bool> {
        loop {
            if let Some(first) = self.state.lock().parts.front() {
                return Some(first.target == Target::Room);
            }
            if self.finish() {
                return None;
            }
            self.arrived().await;
        }
    }

    /// Returns when parts have come, or the queue was closed, since the last
    /// call returned.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes out the first parts.
    pub(crate) fn take(&self, parts_max: usize) -> VecDeque<Part> {
        self.take_within(parts_max, usize::MAX)
    }

    /// Takes out the first parts, and at least one: no more than fit into so many
    /// bytes of messages.
    pub(crate) fn take_within(&self, parts_max: usize, bytes_max: usize) -> VecDeque<Part> {
        let mut state = self.state.lock();
        let taken = if state.parts.len() <= parts_max && state.bytes <= bytes_max {
            state.bytes = 0;
            state.earliest = None;
            std::mem::take(&mut state.parts)
        } else {
            let mut left = Some(bytes_max);
            let fits = |part: &&Part| {
                left = left.and_then(|left| left.checked_sub(bytes(part)));
                left.is_some()
            };
            let fitting = state.parts.iter().take(parts_max).take_while(fits).count();
            let taken: VecDeque<_> = state.parts.drain(..fitting.max(1)).collect();
            state.bytes -= taken.iter().map(bytes).sum::<usize>();
            taken
        };
        drop(state);
        self.left(taken.len());
        taken
    }

    /// Ends everything that waits.
    pub(crate) fn end(&self, outcome: Outcome) {
        for part in self.take(usize::MAX) {
            part.end(outcome);
        }
    }

    /// Ends the parts whose deadline has passed.
    pub(crate) fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        let mut expired = Vec::new();
        for part in std::mem::take(&mut state.parts) {
            if part.record.deadline <= now {
                expired.push(part);
            } else {
                state.parts.push_back(part);
            }
        }
        state.bytes -= expired.iter().map(bytes).sum::<usize>();
        state.earliest = state.parts.iter().map(|part| part.record.deadline).min();
        drop(state);
        self.left(expired.len());
        for part in expired {
            part.end(Outcome::Expired);
        }
    }

    /// Whether it is empty and closed.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.state.lock();
        state.is_closed && state.parts.is_empty()
    }

    /// Ends it if it is empty and closed: from then on it cannot be opened again.
    pub(crate) fn finish(&self) -> bool {
        let mut state = self.state.lock();
        state.has_ended |= state.is_closed && state.parts.is_empty();
        state.has_ended
    }

    /// Whether no part is ever going to be taken out.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().has_ended
    }

    fn left(&self, parts: usize) {
        if parts > 0 {
            self.queued.dec_by(i64::try_from(parts).unwrap_or(i64::MAX));
            self.freed.notify_one();
        }
    }
}

impl State {
    fn is_full(&self, bounds: Bounds) -> bool {
        self.parts.len() >= bounds.parts_max.max(1) || self.bytes >= bounds.bytes_max.max(1)
    }

    /// Whether it is less than half full: a comet that is too slow may take half
    /// of it at once.
    fn has_recovered(&self, bounds: Bounds) -> bool {
        2 * self.parts.len() < bounds.parts_max.max(1) && 2 * self.bytes < bounds.bytes_max.max(1)
    }

    fn note_due(&mut self, part: &Part) {
        let due = part.record.deadline;
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
    }
}

impl Inlet {
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.0
    }

    /// No part is going to come.
    pub(crate) fn close(&self) {
        self.0.state.lock().is_closed = true;
        self.0.arrived.notify_one();
    }

    /// Parts may come again. False if the other end has gone meanwhile.
    pub(crate) fn reopen(&self) -> bool {
        let mut state = self.0.state.lock();
        state.is_closed = state.has_ended;
        !state.is_closed
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.close();
    }
}

impl Deref for Outlet {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.0
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.state.lock().has_ended = true;
        drop(self.0.take(usize::MAX));
        self.0.freed.notify_one();
    }
}

fn bytes(part: &Part) -> usize {
    part.record.msg.msg.len()
}

#[cfg(test)]
mod tests;
