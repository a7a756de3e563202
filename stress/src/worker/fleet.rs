//! The receiving threads of a worker.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::member;
use super::post::{Member, Post, Stage};
use crate::account::{Expected, Verdict};
use crate::clock::{Alarm, moment_ns, now_ns};
use crate::messages::{Opened, Plan, Progress, Settled, add_counts};

/// Connections that one thread opens at the same time.
const OPENING_MAX: usize = 256;
/// Members that are compared per turn of a thread's lock, so that its reads do not wait long.
const COMPARED_PER_LOCK: usize = 64;

/// Threads with a runtime each: their connections never meet another core.
pub(super) struct Fleet {
    posts: Vec<Arc<Post>>,
    threads: Vec<JoinHandle<()>>,
    stopped: CancellationToken,
    halted: CancellationToken,
    started_ns: u64,
    failure: Arc<Mutex<Option<String>>>,
}

impl Fleet {
    /// Starts the threads, which begin to open connections.
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        let plan = Arc::new(plan.clone());
        let mut fleet = Self {
            posts: Vec::new(),
            threads: Vec::new(),
            stopped: CancellationToken::new(),
            halted: CancellationToken::new(),
            started_ns: now_ns(),
            failure: Arc::default(),
        };
        for thread in 0..plan.threads.max(1) {
            let post = Arc::new(Post::new(Arc::clone(&plan), thread, fleet.halted.clone()));
            fleet.posts.push(Arc::clone(&post));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (stopped, failure) = (fleet.stopped.clone(), Arc::clone(&fleet.failure));
            let started_ns = fleet.started_ns;
            let work = move || {
                let outcome = runtime
                    .block_on(stopped.run_until_cancelled(receive(post, thread, started_ns)));
                if let Some(Err(error)) = outcome {
                    *failure.lock() = Some(error.to_string());
                }
                // Connections need no farewell: the run is over.
                runtime.shutdown_background();
            };
            let name = format!("receive-{thread}");
            fleet
                .threads
                .push(std::thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(fleet)
    }

    /// Opens no further connections.
    pub(super) fn halt(&self) {
        self.halted.cancel();
    }

    /// Starts to count the CPU time.
    pub(super) fn begin(&self) {
        for post in &self.posts {
            let tally = &mut post.state.lock().tally;
            tally.cpu_at_begin_ns = tally.cpu_ns;
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for post in &self.posts {
            let tally = &post.state.lock().tally;
            progress.ready += tally.ready;
            progress.failed += tally.failures.values().sum::<u64>();
            progress.received += tally.latency.count();
        }
        progress
    }

    /// The result of opening once every member is ready, has failed or was given up by [`halt`](Self::halt).
    pub(super) fn opened(&self) -> Option<Opened> {
        let mut opened = Opened::default();
        for post in &self.posts {
            let state = post.state.lock();
            let tally = &state.tally;
            let wanted = if tally.halted {
                tally.started
            } else {
                state.members.len() as u64
            };
            if tally.attempted < wanted {
                return None;
            }
            opened.merge(&Opened {
                ready: tally.ready,
                failures: tally.failures.clone(),
                started_ns: self.started_ns,
                finished_ns: tally.opened_ns,
                handshake: tally.handshake.clone(),
            });
        }
        Some(opened)
    }

    /// Whether every open member has all that it should get, and no heartbeat waits for its answer.
    pub(super) fn complete(&self, streams: &BTreeMap<u32, Expected>) -> bool {
        self.posts.iter().all(|post| {
            let waits = |member: &Member| member.stage == Stage::Ready && member.heartbeat_ns != 0;
            !post.state.lock().members.iter().any(waits)
                && compare(post, streams, |member| member.stage == Stage::Ready)
                    .0
                    .lost
                    == 0
        })
    }

    /// The result of receiving.
    pub(super) fn settled(&self, streams: &BTreeMap<u32, Expected>) -> Settled {
        let mut settled = Settled::default();
        for post in &self.posts {
            let (verdict, members_with_loss) = compare(post, streams, |member| member.was_ready);
            let state = post.state.lock();
            let tally = &state.tally;
            let mut disconnects = BTreeMap::new();
            add_counts(&mut disconnects, &tally.disconnects);
            settled.merge(&Settled {
                verdict,
                members_with_loss,
                misrouted: tally.misrouted,
                corrupt: tally.corrupt,
                foreign: tally.foreign,
                goodbyes: tally.goodbyes,
                latency: tally.latency.clone(),
                heartbeats_sent: tally.heartbeats_sent,
                heartbeats_answered: tally.heartbeats_answered,
                heartbeat: tally.heartbeat.clone(),
                disconnects,
                open: state
                    .members
                    .iter()
                    .filter(|member| member.stage == Stage::Ready)
                    .count() as u64,
                receive_cpu_ns: tally.cpu_ns.saturating_sub(tally.cpu_at_begin_ns),
                reads: tally.reads,
                last_message_ns: tally.last_message_ns,
            });
        }
        settled
    }

    /// Why a thread could not go on.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().take()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stopped.cancel();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The sum over the chosen members, and how many of them lost something.
fn compare(
    post: &Post,
    streams: &BTreeMap<u32, Expected>,
    chosen: fn(&Member) -> bool,
) -> (Verdict, u64) {
    let nothing = Expected::default();
    let (mut total, mut with_loss, mut first) = (Verdict::default(), 0, 0);
    loop {
        let state = post.state.lock();
        let Some(rest) = state.members.get(first..).filter(|rest| !rest.is_empty()) else {
            return (total, with_loss);
        };
        for member in rest.iter().take(COMPARED_PER_LOCK) {
            if chosen(member) {
                let expected = streams.get(&member.stream).unwrap_or(&nothing);
                let verdict = member.tracker.verdict(expected);
                with_loss += u64::from(verdict.lost > 0);
                total += verdict;
            }
        }
        first += COMPARED_PER_LOCK;
    }
}

/// What a thread does: opens its members at their share of the rate and keeps them alive.
async fn receive(post: Arc<Post>, thread: u32, started_ns: u64) -> io::Result<()> {
    let tracker = TaskTracker::new();
    let members = post.state.lock().members.len();
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    let alarm = Alarm::new()?;
    let open = async {
        for slot in 0..members {
            // Thread t opens the members t, t + n, t + 2n …: their moments interleave with those of the others.
            let place = slot as u64 * u64::from(post.plan.threads.max(1)) + u64::from(thread);
            alarm
                .wait_until(started_ns + moment_ns(place, post.plan.connect_rate))
                .await?;
            let permit = Arc::clone(&opening)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            post.state.lock().tally.started += 1;
            tracker.spawn(member::run(Arc::clone(&post), slot, permit));
        }
        io::Result::Ok(())
    };
    let opened = async {
        let opened = post.halted.run_until_cancelled(open).await;
        if opened.is_none() {
            post.state.lock().tally.halted = true;
        }
        opened.unwrap_or(Ok(()))
    };
    let kept_alive = async {
        post.keep_alive().await;
        Ok(())
    };
    tokio::try_join!(opened, kept_alive)?;
    Ok(())
}
