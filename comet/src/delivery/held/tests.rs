use std::collections::HashSet;

use halley_node::Registry;
use halley_proto::halley::delivery::RoomChanges;
use proptest::prelude::*;

use super::*;
use crate::connection::Connection;
use crate::tally::{DropReason, Tally};

const ROOMS: usize = 4;
const JOBS: usize = 3;

fn held(changes_max: usize) -> Arc<HeldRooms> {
    let limits = Limits {
        ack_timeout: Duration::from_millis(500),
        changes_max,
    };
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    HeldRooms::new(limits, metrics)
}

/// The part of a node that rooms are about.
struct Node {
    rooms: Rooms,
    held: Arc<HeldRooms>,
    now: Tick,
    members: Vec<Member>,
}

struct Member {
    room: String,
    connection: Arc<Connection>,
    /// What it waits for.
    waiting: Option<u64>,
}

impl Node {
    fn new(changes_max: usize) -> Self {
        Self {
            rooms: Rooms::new(2),
            held: held(changes_max),
            now: Tick(1),
            members: Vec::new(),
        }
    }

    fn join(&mut self, room: &str) -> bool {
        let number = self.members.len() as u64;
        let key = number.to_string().into();
        let connection = Arc::new(Connection::detached(number, key));
        let joined = self
            .rooms
            .join(room, &connection, &mut connection.outgoing(), || 0);
        let waiting = self.held.joined(&joined).map(|join| join.0);
        let is_confirmed = waiting.is_none();
        self.members.push(Member {
            room: room.to_owned(),
            connection,
            waiting,
        });
        is_confirmed
    }

    fn leave(&mut self, member: usize) {
        let member = self.members.swap_remove(member);
        let mut outgoing = member.connection.outgoing();
        for room in outgoing.leave(DropReason::LeftRoom, &mut Tally::default()) {
            self.rooms.forget(&room);
            self.held.emptied(&room, self.now);
        }
    }

    fn open(&self) -> Job {
        let closing = CancellationToken::new();
        Job {
            feed: self.held.open(&self.rooms, closing.clone()),
            closing,
            news: None,
            is_complete: false,
            holds: HashSet::new(),
        }
    }

    fn release(&mut self) {
        self.now = self.now.after(LINGER);
        self.held.release(&self.rooms, self.now);
    }
}

/// A job's end of a stream.
struct Job {
    feed: Feed,
    closing: CancellationToken,
    /// Sent to it and not taken in.
    news: Option<RoomChanges>,
    is_complete: bool,
    holds: HashSet<String>,
}

impl Job {
    fn send(&mut self) {
        if let Some(news) = self.feed.next() {
            assert!(self.news.replace(news).is_none(), "one at a time");
        }
    }

    fn take_in(&mut self) {
        if let Some(news) = self.news.take() {
            let both = news.held.iter().any(|room| news.released.contains(room));
            assert!(!both, "a message says one thing of a room");
            for room in &news.released {
                self.holds.remove(room);
            }
            self.holds.extend(news.held);
            self.is_complete |= news.complete;
            self.feed.acknowledge(news.version);
        }
    }

    fn catch_up(&mut self) {
        self.send();
        while self.news.is_some() {
            self.take_in();
            self.send();
        }
    }

    fn would_send(&self, room: &str) -> bool {
        !self.is_complete || self.holds.contains(room)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    Open(usize),
    Close(usize),
    Send(usize),
    TakeIn(usize),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..ROOMS).prop_map(Step::Join),
        3 => (0..64usize).prop_map(Step::Leave),
        1 => (0..JOBS).prop_map(Step::Open),
        1 => (0..JOBS).prop_map(Step::Close),
        4 => (0..JOBS).prop_map(Step::Send),
        4 => (0..JOBS).prop_map(Step::TakeIn),
        1 => Just(Step::Release),
    ]
}

proptest! {
    #[test]
    fn a_confirmed_member_is_known_to_every_job(steps in prop::collection::vec(step(), 1..200)) {
        let mut node = Node::new(1000);
        let mut jobs: [Option<Job>; JOBS] = [None, None, None];
        for step in steps {
            match step {
                Step::Join(room) => {
                    node.join(&room.to_string());
                }
                Step::Leave(member) if !node.members.is_empty() => {
                    node.leave(member % node.members.len());
                }
                Step::Leave(_) => {}
                Step::Open(job) => jobs[job] = Some(node.open()),
                Step::Close(job) => jobs[job] = None,
                Step::Send(job) => jobs[job].iter_mut().for_each(Job::send),
                Step::TakeIn(job) => jobs[job].iter_mut().for_each(Job::take_in),
                Step::Release => node.release(),
            }
            let known = *node.held.known.borrow();
            for member in &node.members {
                let is_confirmed = member.waiting.is_none_or(|change| change <= known);
                for job in jobs.iter().flatten() {
                    prop_assert!(!is_confirmed || job.would_send(&member.room));
                }
            }
        }
        // In the end everyone knows the same: what has members, and nothing that was released.
        for job in jobs.iter_mut().flatten() {
            job.catch_up();
        }
        node.release();
        let rooms: HashSet<_> = node.members.iter().map(|member| member.room.clone()).collect();
        for job in jobs.iter_mut().flatten() {
            job.catch_up();
            prop_assert!(job.is_complete);
            prop_assert_eq!(&job.holds, &rooms);
        }
        prop_assert!(node.held.state.lock().log.is_empty());
    }
}

#[test]
fn without_jobs_nothing_is_kept() {
    let mut node = Node::new(10);
    assert!(node.join("a"));
    drop(node.open());
    assert!(node.join("b"));
    node.leave(0);

    let state = node.held.state.lock();

    assert!(state.held.is_empty() && state.emptied.is_empty() && state.log.is_empty());
}

#[test]
fn a_room_that_every_job_knows_is_no_news() {
    let mut node = Node::new(10);
    let mut job = node.open();
    job.catch_up();
    assert!(!node.join("a"));
    job.catch_up();

    assert!(node.join("a"));

    let room = node.rooms.get("a").expect("it has members");
    assert!(room.is_reported());
    assert!(job.feed.next().is_none());
}

#[test]
fn a_room_released_before_the_snapshot_was_sent_is_not_in_it() {
    let mut node = Node::new(10);
    node.join("a");
    let mut job = node.open();
    node.leave(0);
    node.release();

    job.catch_up();

    assert!(job.is_complete && job.holds.is_empty());
}

#[test]
fn many_rooms_are_told_in_several_messages() {
    let mut node = Node::new(10_000);
    for number in 0..5_000 {
        node.join(&number.to_string());
    }
    let mut job = node.open();

    job.send();
    assert!(!job.news.as_ref().is_some_and(|news| news.complete));
    // Until it has all, it takes the node to hold every room.
    assert!(node.join("new"));
    job.catch_up();

    assert!(job.is_complete);
    assert_eq!(job.holds.len(), 5_001);
}

#[test]
fn a_job_that_lags_too_far_behind_loses_its_stream() {
    let mut node = Node::new(10);
    let (mut slow, mut quick) = (node.open(), node.open());
    slow.catch_up();
    for number in 0..20 {
        node.join(&number.to_string());
        quick.catch_up();
    }

    assert!(slow.closing.is_cancelled() && !quick.closing.is_cancelled());
    slow.catch_up();
    assert!(slow.holds.len() < 20);
    assert_eq!(node.held.state.lock().feeds.len(), 1);
    assert_eq!(node.held.metrics.streams_late.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_join_waits_only_so_long() {
    let mut node = Node::new(10);
    let (mut good, mut hung) = (node.open(), node.open());
    good.catch_up();
    hung.catch_up();
    assert!(!node.join("a"));
    good.catch_up();
    let change = node.members[0].waiting.expect("it waits");

    node.held.confirmed(Unconfirmed(change)).await;

    assert!(hung.closing.is_cancelled() && !good.closing.is_cancelled());
    assert!(node.join("a"));
}
