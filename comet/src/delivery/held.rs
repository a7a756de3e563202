//! Which rooms the node holds, as the jobs know it.
//!
//! A job sends a room's messages only to comets that hold the room, so a join
//! to a room that is new here is confirmed to the client only when every job
//! has taken it in. All changes are in one log, and each stream to a job has a
//! cursor in it. While there are no streams nothing is kept and nothing waits.
//!
//! A room counts as held from the first join on until some time after its last
//! member has left, so that one that empties and fills again is no news.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use crate::clock::Tick;
use crate::metrics::Metrics;
use crate::room::{Room, Rooms};

/// How long an empty room stays held.
const LINGER: Duration = Duration::from_secs(5);
/// What a job knows that takes the node to hold every room.
const EVERYTHING: u64 = u64::MAX;

/// Bounds of the reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a join waits for the jobs.
    pub(crate) ack_timeout: Duration,
    /// Changes that a stream may lag behind.
    pub(crate) changes_max: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct HeldRooms {
    limits: Limits,
    /// Streams; joins look here first.
    feeds: AtomicUsize,
    /// Number of the change up to which every job knows.
    known: watch::Sender<u64>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<Arc<str>, Held, RandomState>,
    /// Rooms whose last member has left and when, each at most once.
    emptied: VecDeque<(Tick, Arc<str>)>,
    /// Changes that not every stream has sent.
    log: VecDeque<Change>,
    /// Changes before those.
    log_start: u64,
    feeds: HashMap<u64, FeedState>,
    feeds_opened: u64,
}

#[derive(Debug)]
struct Held {
    /// Changes up to the one that reported it.
    reported_by: u64,
    is_emptied: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) room: Arc<str>,
    pub(super) is_held: bool,
}

#[derive(Debug)]
struct FeedState {
    /// Changes that the stream has sent.
    cursor: u64,
    /// Changes that its job has taken in.
    known: u64,
    wake: Arc<Notify>,
    closing: CancellationToken,
}

/// A join that not every job knows of yet.
#[derive(Debug)]
#[must_use = "a join is confirmed only when the jobs know of it"]
pub(crate) struct Unconfirmed(u64);

impl HeldRooms {
    /// Nothing is held, and nobody is told.
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            feeds: AtomicUsize::new(0),
            known: watch::Sender::new(EVERYTHING),
            metrics,
            state: Mutex::default(),
        })
    }

    /// How long a job may go by what it was told.
    pub(crate) fn lease(&self) -> Duration {
        self.limits.ack_timeout
    }

    /// Notes that `room` has got a member; `None` if every job knows that it is held.
    pub(crate) fn joined(&self, room: &Room) -> Option<Unconfirmed> {
        // Whoever opens a stream looks at the rooms afterwards: it finds this
        // one, or its lock on the table of rooms tells here of the stream.
        if room.is_reported() || self.feeds.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state.lock();
        if state.feeds.is_empty() {
            return None;
        }
        let known = state.held.get(room.name()).map(|held| held.reported_by);
        let reported_by = known.unwrap_or_else(|| self.hold(&mut state, room.name()));
        if state.known() < reported_by {
            return Some(Unconfirmed(reported_by));
        }
        room.set_reported();
        None
    }

    /// Waits until the jobs know of the join; those that take too long lose
    /// their streams, and then have to take the node to hold every room.
    pub(crate) async fn confirmed(&self, join: Unconfirmed) {
        let mut known = self.known.subscribe();
        let all_know = known.wait_for(|known| *known >= join.0);
        if timeout(self.limits.ack_timeout, all_know).await.is_err() {
            let mut state = self.state.lock();
            self.close(&mut state, |feed, _| feed.known < join.0);
        }
    }

    /// Notes that the last member of a room has left.
    pub(crate) fn emptied(&self, room: &Room, now: Tick) {
        if self.feeds.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.state.lock();
        let State { held, emptied, .. } = &mut *state;
        if let Some(held) = held.get_mut(room.name())
            && !held.is_emptied
        {
            held.is_emptied = true;
            emptied.push_back((now, Arc::clone(room.name())));
        }
    }

    /// Releases the rooms that have been empty for long enough.
    pub(crate) fn release(&self, rooms: &Rooms, now: Tick) {
        let mut state = self.state.lock();
        while let Some((since, _)) = state.emptied.front()
            && since.after(LINGER) <= now
        {
            let Some((_, room)) = state.emptied.pop_front() else {
                break;
            };
            // Whoever joins after this look reports the room anew.
            if rooms.get(&room).is_none() {
                state.held.remove(&room);
                self.log(&mut state, &room, false);
            } else if let Some(held) = state.held.get_mut(&room) {
                held.is_emptied = false;
            }
        }
        let held = i64::try_from(state.held.len()).unwrap_or(i64::MAX);
        self.metrics.rooms_held.set(held);
    }

    /// Tells another stream, until it is dropped or `closing` is cancelled,
    /// which happens here when its job does not keep up.
    pub(crate) fn open(self: &Arc<Self>, rooms: &Rooms, closing: CancellationToken) -> Feed {
        let mut state = self.state.lock();
        state.feeds_opened += 1;
        let (number, end) = (state.feeds_opened, state.log_end());
        let wake = Arc::new(Notify::new());
        let feed = FeedState {
            cursor: end,
            known: EVERYTHING,
            wake: Arc::clone(&wake),
            closing,
        };
        state.feeds.insert(number, feed);
        self.feeds.store(state.feeds.len(), Ordering::Relaxed);
        if state.feeds.len() == 1 {
            let held = |room: Arc<Room>| {
                let held = Held {
                    reported_by: end,
                    is_emptied: false,
                };
                (Arc::clone(room.name()), held)
            };
            state.held = rooms.all().map(held).collect();
        }
        let snapshot: Vec<_> = state.held.keys().cloned().collect();
        Feed::new(Arc::clone(self), number, wake, snapshot, end)
    }

    /// Takes up to `changes_max` changes that a stream has not sent, and says
    /// whether these were all; `None` if the stream is closed. With `complete`,
    /// its job goes by what it was told once it has had all.
    pub(super) fn take(
        &self,
        number: u64,
        changes_max: usize,
        complete: bool,
    ) -> Option<(Vec<Change>, bool)> {
        let mut state = self.state.lock();
        let (start, end) = (state.log_start, state.log_end());
        let State { feeds, log, .. } = &mut *state;
        let feed = feeds.get_mut(&number)?;
        let from = usize::try_from(feed.cursor - start).unwrap_or(usize::MAX);
        let changes: Vec<_> = log.iter().skip(from).take(changes_max).cloned().collect();
        feed.cursor += changes.len() as u64;
        let is_all = feed.cursor == end;
        if is_all && complete {
            feed.known = end;
        }
        self.trim(&mut state);
        Some((changes, is_all))
    }

    /// Notes that the job of a stream has taken in the changes up to `known`.
    pub(super) fn acknowledge(&self, number: u64, known: u64) {
        let mut state = self.state.lock();
        if let Some(feed) = state.feeds.get_mut(&number) {
            feed.known = known;
            self.publish(&state);
        }
    }

    /// Changes up to now.
    pub(super) fn changes(&self) -> u64 {
        self.state.lock().log_end()
    }

    /// Tells a stream no more.
    pub(super) fn end(&self, number: u64) {
        let mut state = self.state.lock();
        if state.feeds.remove(&number).is_some() {
            self.closed(&mut state);
        }
    }

    /// Reports a room; returns the number of changes up to that.
    fn hold(&self, state: &mut State, room: &Arc<str>) -> u64 {
        let reported_by = state.log_end() + 1;
        let held = Held {
            reported_by,
            is_emptied: false,
        };
        state.held.insert(Arc::clone(room), held);
        self.log(state, room, true);
        reported_by
    }

    fn log(&self, state: &mut State, room: &Arc<str>, is_held: bool) {
        let room = Arc::clone(room);
        state.log.push_back(Change { room, is_held });
        for feed in state.feeds.values() {
            feed.wake.notify_one();
        }
        let changes_max = self.limits.changes_max as u64;
        if state.log.len() as u64 > changes_max {
            self.close(state, |feed, end| end - feed.cursor > changes_max);
        }
    }

    fn close(&self, state: &mut State, is_late: impl Fn(&FeedState, u64) -> bool) {
        let end = state.log_end();
        let late = state.feeds.extract_if(|_, feed| is_late(feed, end));
        let late = late.map(|(_, feed)| feed.closing.cancel()).count();
        if late > 0 {
            self.metrics.streams_late.inc_by(late as u64);
            self.closed(state);
        }
    }

    /// Goes on without a stream that is no longer in the list.
    fn closed(&self, state: &mut State) {
        self.feeds.store(state.feeds.len(), Ordering::Relaxed);
        if state.feeds.is_empty() {
            state.held = HashMap::default();
            state.emptied = VecDeque::new();
        }
        self.trim(state);
    }

    /// Forgets the changes that every stream has sent.
    fn trim(&self, state: &mut State) {
        let cursors = state.feeds.values().map(|feed| feed.cursor);
        let sent = cursors.min().unwrap_or_else(|| state.log_end());
        let count = usize::try_from(sent - state.log_start).unwrap_or(usize::MAX);
        state.log.drain(..count);
        state.log_start = sent;
        if state.log.is_empty() {
            state.log.shrink_to(LOG_KEPT);
        }
        self.publish(state);
    }

    fn publish(&self, state: &State) {
        let known = state.known();
        self.known
            .send_if_modified(|current| std::mem::replace(current, known) != known);
    }
}

/// Changes for which the log keeps room while it is empty.
const LOG_KEPT: usize = 1 << 10;

impl State {
    fn log_end(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    /// What every job knows.
    fn known(&self) -> u64 {
        let known = self.feeds.values().map(|feed| feed.known);
        known.min().unwrap_or(EVERYTHING)
    }
}

#[cfg(test)]
mod tests;
