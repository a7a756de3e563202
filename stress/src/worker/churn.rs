//! Connections that log in, close and come again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::inbound::Inbound;
use super::member::{Member, Order, give_up, log_in};
use super::post::Post;
use crate::clock::{Alarm, moment_ns, now_ns};
use crate::messages::{Churn, Churned};

/// A server that refuses every connection would keep the tool spinning: it rests this long.
const REST: Duration = Duration::from_millis(10);

/// Churn as one thread sees it.
pub(super) struct Churning {
    /// Connections that may still come again.
    lanes: u32,
    found: Churned,
}

impl Churning {
    /// What came of it, once it is over.
    pub(super) fn result(&self) -> Option<&Churned> {
        (self.lanes == 0).then_some(&self.found)
    }

    pub(super) fn connects(&self) -> u64 {
        self.found.connects
    }
}

/// Waits for the order to churn and obeys it.
pub(super) async fn run(post: &Arc<Post>, tracker: &TaskTracker) -> io::Result<()> {
    let mut orders = post.churn.subscribe();
    loop {
        let order = *orders.borrow_and_update();
        if let Some(order) = order {
            start(post, tracker, order)?;
        }
        if orders.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// When the connections of a thread are due.
struct Schedule {
    next: u64,
    alarm: Alarm,
}

fn start(post: &Arc<Post>, tracker: &TaskTracker, order: Churn) -> io::Result<()> {
    let threads = post.plan.threads.max(1);
    let own: Vec<u32> = (0..order.lanes)
        .filter(|lane| lane % threads == post.thread)
        .collect();
    let started_ns = now_ns();
    let schedule = Arc::new(Mutex::new(Schedule {
        next: post.thread.into(),
        alarm: Alarm::new()?,
    }));
    let state = &mut *post.state.lock();
    state.churn = Some(Churning {
        lanes: u32::try_from(own.len()).unwrap_or(u32::MAX),
        found: Churned {
            started_ns,
            finished_ns: started_ns,
            ..Churned::default()
        },
    });
    for lane in own {
        let number = order.first.saturating_add(lane);
        let mut member = Member::new(&post.plan, number, post.zipf.as_deref());
        give_up(&mut member);
        state.members.push(member);
        let slot = state.members.len() - 1;
        let (post, schedule) = (Arc::clone(post), Arc::clone(&schedule));
        tracker.spawn(async move {
            travel(&post, slot, order, started_ns, &schedule).await;
            if let Some(churn) = &mut post.state.lock().churn {
                churn.lanes -= 1;
            }
        });
    }
    Ok(())
}

/// One connection after the other, each with a name of its own.
async fn travel(
    post: &Post,
    slot: usize,
    order: Churn,
    started_ns: u64,
    schedule: &Mutex<Schedule>,
) {
    let deadline_ns = started_ns + order.duration_ms * 1_000_000;
    let halted = &post.signals.halted;
    let due = || due(post, order, started_ns, deadline_ns, schedule);
    while let Some(Some(due_ns)) = halted.run_until_cancelled(due()).await {
        let limit = Duration::from_millis(post.plan.connect_timeout_ms);
        let opened = timeout(limit, Box::pin(log_in(post, slot, due_ns)))
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()));
        let failed = {
            let state = &mut *post.state.lock();
            let now = now_ns();
            let member = &mut state.members[slot];
            member.hang_up(Order::Leave, order.reset, now);
            give_up(member);
            member.inbound = Inbound::default();
            member.number = member.number.saturating_add(order.stride);
            member.websocket = post.plan.uses_websocket(member.number);
            let Some(churn) = &mut state.churn else {
                return;
            };
            churn.found.finished_ns = now;
            match &opened {
                Ok(_) => {
                    churn.found.connects += 1;
                    churn.found.login.record_ns(now.saturating_sub(due_ns));
                }
                Err(cause) => *churn.found.failures.entry(cause.clone()).or_default() += 1,
            }
            opened.is_err()
        };
        drop(opened);
        if failed {
            tokio::time::sleep(REST).await;
        }
    }
}

/// When the next connection of the thread is due: at its moment, or now if it is to go as fast as it can. `None`, at
/// the deadline, if none is due before it.
async fn due(
    post: &Post,
    order: Churn,
    started_ns: u64,
    deadline_ns: u64,
    schedule: &Mutex<Schedule>,
) -> Option<u64> {
    let Some(per_second) = order.per_second else {
        return Some(now_ns()).filter(|now_ns| *now_ns < deadline_ns);
    };
    let mut schedule = schedule.lock().await;
    let due_ns = started_ns + moment_ns(schedule.next, per_second);
    // The threads that have lanes take turns.
    schedule.next += u64::from(post.plan.threads.clamp(1, order.lanes.max(1)));
    let until_ns = due_ns.min(deadline_ns);
    schedule.alarm.wait_until(until_ns).await.ok()?;
    (due_ns < deadline_ns).then_some(due_ns)
}
