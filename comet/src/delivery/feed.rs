//! What one stream tells its job of the node's rooms.
//!
//! First everything that is held, then the changes, one message at a time: the
//! next is sent when the job has taken the last one in, and holds all that came
//! meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use halley_proto::halley::delivery::RoomChanges;
use tokio::sync::Notify;

use super::held::HeldRooms;

/// Rooms in one message.
const ROOMS_MAX: usize = 4096;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Feed {
    held: Arc<HeldRooms>,
    number: u64,
    wake: Arc<Notify>,
    /// What was held when the stream opened and is not sent yet.
    snapshot: Vec<Arc<str>>,
    /// The job has been sent everything once.
    is_complete: bool,
    /// Changes that were sent.
    cursor: u64,
    /// Messages that were sent.
    version: u64,
    is_acknowledged: bool,
}

impl Feed {
    pub(super) fn new(
        held: Arc<HeldRooms>,
        number: u64,
        wake: Arc<Notify>,
        snapshot: Vec<Arc<str>>,
        cursor: u64,
    ) -> Self {
        Self {
            held,
            number,
            wake,
            snapshot,
            is_complete: false,
            cursor,
            version: 0,
            is_acknowledged: true,
        }
    }

    /// The next message, if there is something to tell and the job has taken in the last.
    pub(crate) fn next(&mut self) -> Option<RoomChanges> {
        if !self.is_acknowledged {
            return None;
        }
        let rest = self.snapshot.len().saturating_sub(ROOMS_MAX);
        // One word on each room, the last.
        let snapshot = self.snapshot.drain(rest..).map(|room| (room, true));
        let mut rooms: HashMap<_, _> = snapshot.collect();
        // A change must not overtake the snapshot's word of the room.
        let complete = rest == 0 && self.take_changes(&mut rooms)?;
        if rooms.is_empty() && !complete {
            return None;
        }
        self.version += 1;
        self.is_acknowledged = false;
        let mut changes = RoomChanges {
            version: self.version,
            complete,
            ..RoomChanges::default()
        };
        for (room, is_held) in rooms {
            if is_held {
                changes.held.push(room.to_string());
            } else {
                changes.released.push(room.to_string());
            }
        }
        Some(changes)
    }

    /// Adds changes as far as there is room, and says whether the job then has
    /// everything for the first time; `None` if the stream is closed.
    fn take_changes(&mut self, rooms: &mut HashMap<Arc<str>, bool>) -> Option<bool> {
        let places = ROOMS_MAX.saturating_sub(rooms.len());
        let (log, is_all) = self.held.take(self.number, places, !self.is_complete)?;
        self.cursor += log.len() as u64;
        rooms.extend(log.into_iter().map(|change| (change.room, change.is_held)));
        let complete = is_all && !self.is_complete;
        self.is_complete |= is_all;
        Some(complete)
    }

    /// Takes the version that the job has returned; others than the last mean nothing.
    pub(crate) fn acknowledge(&mut self, version: u64) {
        if self.is_acknowledged || version != self.version {
            return;
        }
        self.is_acknowledged = true;
        if self.is_complete {
            self.held.acknowledge(self.number, self.cursor);
        }
    }

    /// Waits for something to tell.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The changes up to now, for [`Feed::has_sent`].
    pub(crate) fn changes(&self) -> u64 {
        self.held.changes()
    }

    /// Whether the job has been sent so many changes, or does not go by them yet.
    pub(crate) fn has_sent(&self, changes: u64) -> bool {
        !self.is_complete || self.cursor >= changes
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.held.end(self.number);
    }
}
