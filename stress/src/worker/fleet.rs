//! The receiving threads of a worker.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::compare::{compare, is_complete};
use super::member::{Member, Stage, run};
use super::post::{Post, Signals};
use super::{churn, day, link, storm};
use crate::account::Expected;
use crate::clock::{Alarm, moment_ns, now_ns};
use crate::latency::{Coarse, Latency};
use crate::messages::{
    Churn, Churned, Opened, Plan, Progress, Settled, Slow, Storm, Stormed, Times, Turnover,
};

/// Threads with a runtime each: their connections never meet another core.
pub(super) struct Fleet {
    plan: Arc<Plan>,
    posts: Vec<Arc<Post>>,
    threads: Vec<JoinHandle<()>>,
    stopped: CancellationToken,
    signals: Signals,
    started_ns: u64,
    failure: Arc<Mutex<Option<String>>>,
    /// Of all threads, up to the last take.
    times: Times<Latency>,
    /// Takes the place of a thread's times.
    spare: Times<Latency>,
}

impl Fleet {
    /// Starts the threads, which begin to open connections.
    pub(super) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let plan = Arc::new(plan.clone());
        let zipf = plan.layout.crowd().map(|crowd| Arc::new(crowd.zipf()));
        let tls = link::connector(&plan)?;
        let signals = Signals::default();
        let mut fleet = Self {
            plan: Arc::clone(&plan),
            posts: Vec::new(),
            threads: Vec::new(),
            stopped: CancellationToken::new(),
            signals: signals.clone(),
            started_ns: now_ns(),
            failure: Arc::default(),
            times: Times::default(),
            spare: Times::default(),
        };
        for thread in 0..plan.threads.max(1) {
            let post = Post::new(
                Arc::clone(&plan),
                thread,
                tls.clone(),
                zipf.clone(),
                signals.clone(),
            );
            let post = Arc::new(post);
            fleet.posts.push(Arc::clone(&post));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (stopped, failure) = (fleet.stopped.clone(), Arc::clone(&fleet.failure));
            let started_ns = fleet.started_ns;
            let work = move || {
                let outcome =
                    runtime.block_on(stopped.run_until_cancelled(receive(post, started_ns)));
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
        self.signals.halted.cancel();
    }

    /// Starts to count the CPU time, and the day.
    pub(super) fn begin(&self) {
        for post in &self.posts {
            let tally = &mut post.state.lock().tally;
            tally.cpu_at_begin_ns = tally.cpu_ns;
            tally.begun = true;
        }
        self.signals.begun.cancel();
    }

    /// Ends the day: nobody comes or goes any more.
    pub(super) fn calm(&self) {
        self.signals.settling.cancel();
    }

    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress {
            received: self.times.delivery.count(),
            ..Progress::default()
        };
        for post in &self.posts {
            let state = post.state.lock();
            let tally = &state.tally;
            progress.ready += tally.ready;
            progress.open += tally.open;
            progress.failed += tally.failures.values().sum::<u64>();
            progress.received += tally.times.delivery.count() + tally.slow.latency.count();
            progress.churned += state.churn.as_ref().map_or(0, churn::Churning::connects);
        }
        progress
    }

    /// Takes the times since the last call.
    pub(super) fn take_times(&mut self) -> Times<Coarse> {
        let mut times = Times::<Coarse>::default();
        for post in &self.posts {
            {
                // Nothing but a swap happens while the thread has to wait.
                let tally = &mut post.state.lock().tally;
                std::mem::swap(&mut tally.times, &mut self.spare);
            }
            times.merge(&self.spare.coarse());
            self.times.merge(&self.spare);
            self.spare.clear();
        }
        times
    }

    /// The result of opening once every member is ready, has failed or was given up by [`halt`](Self::halt).
    pub(super) fn opened(&self) -> Option<Opened> {
        let mut opened = Opened {
            handshake: self.times.handshake.clone(),
            ..Opened::default()
        };
        for post in &self.posts {
            let state = post.state.lock();
            let tally = &state.tally;
            let wanted = if tally.halted {
                tally.started
            } else {
                let online = |member: &&Member| post.plan.starts_online(member.number);
                state.members.iter().filter(online).count() as u64
            };
            if tally.attempted < wanted {
                return None;
            }
            opened.merge(&Opened {
                ready: tally.ready,
                failures: tally.failures.clone(),
                started_ns: self.started_ns,
                finished_ns: tally.opened_ns,
                handshake: tally.times.handshake.clone(),
            });
        }
        Some(opened)
    }

    /// Drops connections, which then come back.
    pub(super) fn storm(&self, order: Storm) {
        for post in &self.posts {
            storm::strike(post, order);
        }
    }

    /// The result of the storm once it is over.
    pub(super) fn stormed(&self) -> Option<Stormed> {
        if !self.posts.iter().all(|post| storm::is_over(post)) {
            return None;
        }
        let mut stormed = Stormed::default();
        for found in self.posts.iter().filter_map(|post| storm::take(post)) {
            stormed.merge(&found);
        }
        Some(stormed)
    }

    /// Has connections come and go.
    pub(super) fn churn(&self, order: Churn) {
        for post in &self.posts {
            post.churn.send_replace(Some(order));
        }
    }

    /// The result of the churn once it is over.
    pub(super) fn churned(&self) -> Option<Churned> {
        let mut churned = Churned::default();
        for post in &self.posts {
            churned.merge(post.state.lock().churn.as_ref()?.result()?);
        }
        Some(churned)
    }

    /// Whether every open member has all that it should get, and no request waits for its answer.
    pub(super) fn complete(&self, streams: &BTreeMap<u32, Expected>) -> bool {
        let grace_ns = self.grace_ns();
        self.posts
            .iter()
            .all(|post| is_complete(post, streams, grace_ns))
    }

    /// How long before it leaves a member need not receive what was pushed: at least as long as the slowest message
    /// of the run took, since a server that is late has lost nothing.
    fn grace_ns(&self) -> u64 {
        let Some(day) = self.plan.day else { return 0 };
        let slowest = |post: &Arc<Post>| post.state.lock().tally.times.delivery.max_us();
        let current_us = self.posts.iter().map(slowest).max().unwrap_or(0);
        let slowest_us = self.times.delivery.max_us().max(current_us);
        (day.grace_ms * 1000).max(slowest_us) * 1000
    }

    /// The result of receiving, up to the last times that were taken.
    pub(super) fn settled(&self, streams: &BTreeMap<u32, Expected>) -> Settled {
        let mut settled = Settled {
            latency: self.times.delivery.clone(),
            heartbeat: self.times.heartbeat.clone(),
            ..Settled::default()
        };
        let grace_ns = self.grace_ns();
        for post in &self.posts {
            let compared = compare(post, streams, grace_ns, |member| member.was_ready);
            let state = post.state.lock();
            let tally = &state.tally;
            settled.merge(&Settled {
                verdict: compared.verdict,
                members_with_loss: compared.members_with_loss,
                misrouted: tally.misrouted,
                corrupt: tally.corrupt,
                foreign: tally.foreign,
                goodbyes: tally.goodbyes,
                heartbeats_sent: tally.heartbeats_sent,
                heartbeats_answered: tally.heartbeats_answered,
                heartbeats_abandoned: tally.heartbeats_abandoned,
                heartbeats_lost: tally.heartbeats_lost,
                disconnects: tally.disconnects.clone(),
                open: tally.open,
                receive_cpu_ns: tally.cpu_ns.saturating_sub(tally.cpu_at_begin_ns),
                reads: tally.reads,
                last_message_ns: tally.last_message_ns,
                rooms: compared.rooms,
                turnover: Turnover {
                    handshake: tally.later.clone(),
                    grace_ns,
                    ..tally.turnover.clone()
                },
                slow: Slow {
                    members: compared.slow_members,
                    verdict: compared.slow,
                    ..tally.slow.clone()
                },
                ..Settled::default()
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

/// What a thread does: opens its members at their share of the rate and keeps them alive, and whatever else is
/// asked of them.
async fn receive(post: Arc<Post>, started_ns: u64) -> io::Result<()> {
    let tracker = TaskTracker::new();
    let opened = async {
        let open = open(&post, &tracker, started_ns);
        let opened = post.signals.halted.run_until_cancelled(open).await;
        if opened.is_none() {
            post.state.lock().tally.halted = true;
        }
        opened.unwrap_or(Ok(()))
    };
    let kept_alive = async {
        post.keep_alive().await;
        Ok(())
    };
    tokio::try_join!(
        opened,
        kept_alive,
        day::live(&post, &tracker),
        churn::run(&post, &tracker),
    )?;
    Ok(())
}

async fn open(post: &Arc<Post>, tracker: &TaskTracker, started_ns: u64) -> io::Result<()> {
    let alarm = Alarm::new()?;
    let online: Vec<usize> = {
        let members = &post.state.lock().members;
        let opening = |slot: &usize| members[*slot].stage == Stage::Opening;
        (0..members.len()).filter(opening).collect()
    };
    for (place, slot) in (0_u64..).zip(online) {
        // Thread t opens the members t, t + n, t + 2n …: their moments interleave with those of the others.
        let place = place * u64::from(post.plan.threads.max(1)) + u64::from(post.thread);
        alarm
            .wait_until(started_ns + moment_ns(place, post.plan.connect_rate))
            .await?;
        let permit = Arc::clone(&post.opening)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        post.state.lock().tally.started += 1;
        tracker.spawn(run(Arc::clone(post), slot, permit));
    }
    Ok(())
}
