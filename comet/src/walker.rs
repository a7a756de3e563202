//! Carrying a room's new messages to its members.
//!
//! A walker writes inline, member by member, in chunks between which others get
//! their [turn](crate::turns), so that one large room does not hold up the small
//! ones. It holds no lock of the room while it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Walked};
use crate::frame::DIALECTS;
use crate::hub::Hub;
use crate::ring::Cursor;
use crate::room::{Pass, Room};
use crate::tally::Tally;

/// Slots of a chunk: about a fifth of a millisecond of writes.
const CHUNK_SLOTS: usize = 32;
/// Chunks after which a walker takes along what has come since: whose turn comes
/// late in a long pass need not wait for the next one.
const CHUNKS_PER_RENEWAL: usize = 8;
/// Slots that make another walker worth its start.
const SLOTS_PER_WALKER: usize = 1024;

/// Walks `room` until nothing new is left.
pub(crate) async fn walk(hub: Arc<Hub>, room: Arc<Room>) {
    loop {
        let wait = room
            .pace
            .lock()
            .wait_until(Instant::now(), hub.config.delivery.window_max);
        if let Some(until) = wait {
            sleep_until(until).await;
        }
        room.wake.begin();
        let started = Instant::now();
        walk_once(&hub, &room).await;
        let ended = Instant::now();
        room.pace.lock().passed(started, ended);
        hub.metrics
            .pass_seconds
            .observe((ended - started).as_secs_f64());
        if room.wake.end() {
            return;
        }
    }
}

async fn walk_once(hub: &Arc<Hub>, room: &Arc<Room>) {
    let pass = room.begin_pass();
    let waiting_since = pass.waiting_since();
    let pass = Arc::new(Shared {
        room: Arc::clone(room),
        read: Mutex::new(DIALECTS.map(|dialect| pass.head(dialect))),
        pass,
        next: AtomicUsize::new(0),
    });
    let walkers = (room.slots() / SLOTS_PER_WALKER).min(hub.walkers_max);
    let others: Vec<_> = (1..walkers)
        .map(|_| {
            let (hub, pass) = (Arc::clone(hub), Arc::clone(&pass));
            hub.tasks
                .clone()
                .spawn(async move { pass.walk(&hub).await })
        })
        .collect();
    pass.walk(hub).await;
    for other in others {
        // A walker that panicked has been reported; its members are behind, not lost.
        let _ = other.await;
    }
    if let Some(since) = waiting_since {
        hub.metrics
            .room_delivery_seconds
            .observe(since.elapsed().as_secs_f64());
    }
    room.release(*pass.read.lock());
}

/// One pass, shared by its walkers.
struct Shared {
    room: Arc<Room>,
    /// As it began.
    pass: Pass,
    /// The first slot that nobody has taken.
    next: AtomicUsize,
    /// The position that every member has reached, per dialect.
    read: Mutex<[Cursor; 2]>,
}

impl Shared {
    async fn walk(&self, hub: &Hub) {
        let mut members = Vec::with_capacity(CHUNK_SLOTS);
        let mut tally = Tally::default();
        let mut turn = hub.turns.begin();
        let mut renewed = None;
        // Slots without a member are little work, but work.
        let mut work = 0;
        for chunk in 1.. {
            let from = self.next.fetch_add(CHUNK_SLOTS, Ordering::Relaxed);
            if !self.room.copy_members(from, CHUNK_SLOTS, &mut members) {
                return;
            }
            let pass = renewed.as_ref().unwrap_or(&self.pass);
            self.walk_chunk(hub, pass, &members, &mut tally);
            if chunk % CHUNKS_PER_RENEWAL == 0 {
                renewed = self.room.renew_pass(pass).or(renewed);
            }
            tally.report(&hub.metrics);
            work += members.len() + 1;
            if work > CHUNK_SLOTS / 2 {
                work = 0;
                turn.pass().await;
            }
        }
    }

    fn walk_chunk(&self, hub: &Hub, pass: &Pass, members: &[Arc<Connection>], tally: &mut Tally) {
        let now = hub.now();
        let mut read = DIALECTS.map(|dialect| pass.head(dialect));
        for member in members {
            let dialect = member.dialect();
            let walked = member.walk(&self.room, pass, &hub.rules, now, tally);
            let cursor = match walked {
                Walked::At(cursor) => cursor,
                Walked::Due(due) => due.write(&self.room, pass, now, tally),
            };
            // A member that could not be asked may be as far behind as can be.
            let cursor = cursor.unwrap_or_else(|| pass.oldest(dialect));
            let least = &mut read[dialect.index()];
            if cursor.is_before(*least) {
                *least = cursor;
            }
        }
        let mut all = self.read.lock();
        for (all, read) in all.iter_mut().zip(read) {
            if read.is_before(*all) {
                *all = read;
            }
        }
    }
}
