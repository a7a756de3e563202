//! What members do by themselves: connect, disconnect, change their room.

use std::io;
use std::sync::Arc;

use halley_wire::Op;
use tokio_util::task::TaskTracker;

use super::member::{Member, Order, Stage, attempt, request, room_id, stay};
use super::post::{Post, State};
use crate::clock::{Alarm, moment_ns, now_ns};
use crate::messages::Day;
use crate::zipf::{Purpose, draw};

/// Members that are asked, from a random one on, whether they are fit for what is due.
const ASKED_MAX: usize = 64;

/// What is due.
#[derive(Clone, Copy)]
enum Act {
    Connect,
    Disconnect,
    Change,
}

/// Has the members of a thread do what their day asks for, from the beginning of the pushes to their end.
pub(super) async fn live(post: &Arc<Post>, tracker: &TaskTracker) -> io::Result<()> {
    let Some(day) = post.plan.day else {
        return Ok(());
    };
    post.signals.begun.cancelled().await;
    let acts = async {
        tokio::try_join!(
            repeat(post, tracker, &day, Act::Connect),
            repeat(post, tracker, &day, Act::Disconnect),
            repeat(post, tracker, &day, Act::Change),
        )
    };
    let lived = post.signals.settling.run_until_cancelled(acts).await;
    lived.map_or(Ok(()), |ended| ended.map(|_| ()))
}

/// One kind of act at its moments, whatever became of the ones before.
async fn repeat(post: &Arc<Post>, tracker: &TaskTracker, day: &Day, act: Act) -> io::Result<()> {
    let per_second = match act {
        Act::Connect | Act::Disconnect => day.turnover_per_second,
        Act::Change => day.changes_per_second,
    };
    if per_second <= 0.0 {
        return Ok(());
    }
    let (alarm, started_ns) = (Alarm::new()?, now_ns());
    // The threads take turns.
    let threads = u64::from(post.plan.threads.max(1));
    for place in 0.. {
        let index = place * threads + u64::from(post.thread);
        let due_ns = started_ns + moment_ns(index, per_second);
        alarm.wait_until(due_ns).await?;
        let drawn = draw(
            Purpose::Actor,
            index << 34 | u64::from(post.plan.first) << 2 | act as u64,
        );
        perform(post, tracker, act, due_ns, drawn);
    }
    Ok(())
}

fn perform(post: &Arc<Post>, tracker: &TaskTracker, act: Act, due_ns: u64, drawn: u64) {
    let state = &mut *post.state.lock();
    let Some(slot) = find(&state.members, drawn, act) else {
        state.tally.turnover.skipped += 1;
        return;
    };
    match act {
        Act::Connect => {
            let member = &mut state.members[slot];
            member.stage = Stage::Opening;
            tracker.spawn(connect(Arc::clone(post), slot, due_ns));
        }
        Act::Disconnect => {
            state.members[slot].hang_up(Order::Leave, false, now_ns());
            state.tally.turnover.disconnects += 1;
        }
        Act::Change => change(post, state, slot, drawn),
    }
}

/// A member that can do it.
fn find(members: &[Member], drawn: u64, act: Act) -> Option<usize> {
    let first = usize::try_from(drawn % (members.len() as u64).max(1)).ok()?;
    let fit = |member: &Member| match act {
        Act::Connect => member.stage == Stage::Gone,
        Act::Disconnect => member.stage == Stage::Ready && member.order == Order::Stay,
        Act::Change => {
            let settled = member.life.as_ref().is_some_and(|life| life.is_settled());
            member.stage == Stage::Ready && settled
        }
    };
    (first..members.len())
        .chain(0..first)
        .take(ASKED_MAX)
        .find(|slot| fit(&members[*slot]))
}

async fn connect(post: Arc<Post>, slot: usize, due_ns: u64) {
    let Ok(opening) = Arc::clone(&post.opening).acquire_owned().await else {
        return;
    };
    let opened = attempt(&post, slot, due_ns).await;
    drop(opening);
    let reader = {
        let turnover = &mut post.state.lock().tally.turnover;
        match opened {
            Ok(reader) => {
                turnover.connects += 1;
                reader
            }
            Err(cause) => {
                *turnover.connect_failures.entry(cause).or_default() += 1;
                return;
            }
        }
    };
    stay(&post, slot, reader).await;
}

fn change(post: &Post, state: &mut State, slot: usize, drawn: u64) {
    let (Some(zipf), Some(crowd)) = (&post.zipf, post.plan.layout.crowd()) else {
        return;
    };
    let member = &mut state.members[slot];
    let Some(life) = &mut member.life else { return };
    let mut to = zipf.room(draw(Purpose::Change, drawn));
    if to == life.room() {
        to = (to + 1) % crowd.rooms;
    }
    life.begin_change(to, now_ns());
    let room = room_id(post.plan.run, to);
    let packet = request(Op::CHANGE_ROOM, room.as_bytes(), member.websocket);
    state.tally.turnover.changes_sent += 1;
    // What could not be written is never answered, which is how it shows.
    let _ = member.write(&packet);
}
