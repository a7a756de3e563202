//! Rooms: who is in them and what was pushed to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

mod logs;
mod pace;
mod table;

pub use logs::Pass;
pub(crate) use pace::Pace;
pub use table::Rooms;

use crate::connection::Connection;
use crate::frame::{DIALECTS, Dialect, Frame};
use crate::ring::{self, Cursor, Read};
use crate::wake::Wake;
use logs::Logs;

/// A room with members on this node; it ends with its last member.
#[derive(Debug)]
pub struct Room {
    name: Arc<str>,
    members: RwLock<Members>,
    logs: Mutex<Logs>,
    /// Each log's head, readable without its lock.
    heads: [AtomicU64; 2],
    /// Members on other nodes, as logic last told.
    elsewhere: AtomicUsize,
    /// Every job knows that the room is held here.
    reported: AtomicBool,
    pub(crate) wake: Wake,
    pub(crate) pace: Mutex<Pace>,
}

/// What was pushed to a room since somebody last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) messages: u64,
    /// Each message once for each member that it goes to.
    pub(crate) deliveries: u64,
}

#[derive(Debug, Default)]
struct Members {
    /// Stable slots: a walker goes by slot while members come and leave. Not a
    /// slab, whose entries are twice as large.
    slots: Vec<Option<Arc<Connection>>>,
    /// Empty slots.
    holes: Vec<u32>,
    /// The last member left; whoever still finds the room must look again.
    ended: bool,
}

/// What a member left behind.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// The log's head when it left: what came later was not for it.
    pub head: Cursor,
    /// Nobody is left, the room has ended.
    pub is_empty: bool,
}

/// What became of an appended frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Members it goes to.
    pub members: u64,
    /// The caller must start a walker.
    pub must_walk: bool,
}

impl Members {
    fn len(&self) -> usize {
        self.slots.len() - self.holes.len()
    }

    fn add(&mut self, connection: Arc<Connection>) -> u32 {
        if let Some(hole) = self.holes.pop() {
            self.slots[hole as usize] = Some(connection);
            return hole;
        }
        self.slots.push(Some(connection));
        let slot = self.slots.len() - 1;
        u32::try_from(slot).expect("invariant: fewer connections than 2^32")
    }

    fn remove(&mut self, slot: u32) {
        if self.slots[slot as usize].take().is_some() {
            self.holes.push(slot);
        }
    }
}

impl Room {
    fn new(name: Arc<str>, elsewhere: usize) -> Self {
        Self {
            name,
            members: RwLock::default(),
            logs: Mutex::default(),
            heads: [AtomicU64::new(0), AtomicU64::new(0)],
            elsewhere: AtomicUsize::new(elsewhere),
            reported: AtomicBool::new(false),
            wake: Wake::new(),
            pace: Mutex::default(),
        }
    }

    /// The room's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Members on this node.
    pub fn members(&self) -> usize {
        self.members.read().len()
    }

    /// Members on all nodes.
    pub fn online(&self) -> usize {
        self.members() + self.elsewhere.load(Ordering::Relaxed)
    }

    /// Slots that a walker has to look at.
    pub(crate) fn slots(&self) -> usize {
        self.members.read().slots.len()
    }

    pub(crate) fn set_elsewhere(&self, members: usize) {
        self.elsewhere.store(members, Ordering::Relaxed);
    }

    /// Whether every job knows of the room, and goes on to while it has members.
    pub(crate) fn is_reported(&self) -> bool {
        self.reported.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reported(&self) {
        self.reported.store(true, Ordering::Relaxed);
    }

    /// Appends a frame for everyone who is a member now.
    pub fn append(&self, frame: &Frame, limits: ring::Limits) -> Appended {
        let members = {
            let mut logs = self.logs.lock();
            logs.append(frame, limits, |dialect, head| {
                self.heads[dialect.index()].store(head.to_bits(), Ordering::Release);
            })
        };
        Appended {
            members,
            must_walk: members > 0 && self.wake.raise(),
        }
    }

    /// What was pushed since the last call.
    pub(crate) fn take_sent(&self) -> Sent {
        self.logs.lock().take_sent()
    }

    /// The sequence number after the newest message.
    pub fn head(&self, dialect: Dialect) -> Cursor {
        Cursor::new(self.heads[dialect.index()].load(Ordering::Acquire))
    }

    /// What a member has to read from `cursor` on.
    pub(crate) fn read(&self, dialect: Dialect, cursor: Cursor, chunks_max: usize) -> Read {
        self.logs.lock().read(dialect, cursor, chunks_max)
    }

    /// Bytes that the logs hold for members that have not read them.
    pub(crate) fn bytes(&self) -> usize {
        self.logs.lock().bytes()
    }

    /// Takes what came since the last pass began.
    pub(crate) fn begin_pass(&self) -> Pass {
        let mut logs = self.logs.lock();
        logs.begin_pass(self.heads())
    }

    /// The same pass with what has come since; `None`: nothing has.
    pub(crate) fn renew_pass(&self, pass: &Pass) -> Option<Pass> {
        if self.heads() == DIALECTS.map(|dialect| pass.head(dialect)) {
            return None;
        }
        let mut logs = self.logs.lock();
        Some(logs.renew_pass(pass, self.heads()))
    }

    fn heads(&self) -> [Cursor; 2] {
        DIALECTS.map(|dialect| self.head(dialect))
    }

    /// Gives back what every member has read.
    pub(crate) fn release(&self, read: [Cursor; 2]) {
        self.logs.lock().release(read);
    }

    /// Copies the members of up to `slots` slots from `from` on.
    ///
    /// Returns `false` when there are no slots from there on.
    pub(crate) fn copy_members(
        &self,
        from: usize,
        slots: usize,
        copies: &mut Vec<Arc<Connection>>,
    ) -> bool {
        copies.clear();
        let members = self.members.read();
        let end = members.slots.len();
        let from = from.min(end);
        let to = end.min(from + slots);
        copies.extend(members.slots[from..to].iter().flatten().cloned());
        from < end
    }

    /// Adds a member, from the newest message on; `None` if the room has ended.
    pub(crate) fn join(&self, connection: &Arc<Connection>) -> Option<(u32, Cursor)> {
        let mut members = self.members.write();
        if members.ended {
            return None;
        }
        let slot = members.add(Arc::clone(connection));
        let dialect = connection.dialect();
        // Under the log's lock, so that every message is for exactly the
        // members that its appending counted.
        let mut logs = self.logs.lock();
        logs.add_member(dialect);
        Some((slot, self.head(dialect)))
    }

    /// Removes a member.
    pub(crate) fn leave(&self, slot: u32, dialect: Dialect) -> Left {
        let mut members = self.members.write();
        members.remove(slot);
        members.ended = members.len() == 0;
        let mut logs = self.logs.lock();
        logs.remove_member(dialect);
        Left {
            head: self.head(dialect),
            is_empty: members.ended,
        }
    }
}
