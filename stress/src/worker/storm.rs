//! Connections that are dropped all at once and come back.

use std::sync::Arc;
use std::time::Duration;

use super::link::Reader;
use super::member::{Member, Order, Stage, attempt};
use super::post::{Post, State};
use crate::clock::now_ns;
use crate::messages::{Storm, Stormed};
use crate::zipf::{Purpose, draw, unit};

/// A storm as one thread sees it.
pub(super) struct Storming {
    order: Storm,
    deadline_ns: u64,
    /// Members that found no way back in time.
    given_up: u64,
    found: Stormed,
}

/// Drops every ready member that does not stay.
pub(super) fn strike(post: &Post, order: Storm) {
    let State {
        members,
        tally,
        storm,
        ..
    } = &mut *post.state.lock();
    let started_ns = now_ns();
    let mut dropped = 0;
    for member in members {
        if member.stage == Stage::Ready && !post.plan.stays(member.number) {
            member.hang_up(Order::Return, order.reset, started_ns);
            dropped += 1;
        }
    }
    *storm = Some(Storming {
        order,
        deadline_ns: started_ns + order.within_ms * 1_000_000,
        given_up: 0,
        found: Stormed {
            dropped,
            started_ns,
            calm: std::mem::take(&mut tally.stayers),
            ..Stormed::default()
        },
    });
}

/// Whether nobody is on the way back any more.
pub(super) fn is_over(post: &Post) -> bool {
    post.state
        .lock()
        .storm
        .as_ref()
        .is_some_and(|storm| storm.found.ready + storm.given_up >= storm.found.dropped)
}

/// Takes the result of a storm.
pub(super) fn take(post: &Post) -> Option<Stormed> {
    let State {
        members,
        tally,
        storm,
        ..
    } = &mut *post.state.lock();
    let found = storm.take()?.found;
    let (mut during, now) = (std::mem::take(&mut tally.stayers), now_ns());
    // A heartbeat that still waits takes as long as it has waited, at least: without it a server that answers those who
    // stay only when the storm is over would seem undisturbed.
    let stay = |member: &&Member| member.stage == Stage::Ready && post.plan.stays(member.number);
    for sent_ns in members
        .iter()
        .filter(stay)
        .flat_map(|member| member.beats.waiting())
    {
        during.record_ns(now.saturating_sub(sent_ns));
    }
    Some(Stormed {
        handshake: std::mem::take(&mut tally.later),
        during,
        ..found
    })
}

/// Tries until the connection is ready again or the storm's time is over.
pub(super) async fn come_back(post: &Arc<Post>, slot: usize) -> Option<Reader> {
    for tries in 1.. {
        let opened = attempt(post, slot, now_ns()).await;
        let pause = {
            let State { members, storm, .. } = &mut *post.state.lock();
            let storm = storm.as_mut()?;
            let now = now_ns();
            match opened {
                Ok(reader) => {
                    storm.found.ready += 1;
                    storm.found.finished_ns = now;
                    let took_ns = now.saturating_sub(storm.found.started_ns);
                    storm.found.recovery.record_ns(took_ns);
                    return Some(reader);
                }
                Err(cause) => *storm.found.refused.entry(cause).or_default() += 1,
            }
            if now >= storm.deadline_ns || post.signals.halted.is_cancelled() {
                storm.given_up += 1;
                return None;
            }
            pause(storm.order, members[slot].number, tries)
        };
        tokio::time::sleep(pause).await;
    }
    None
}

/// Half of the longest pause or more, so that those that were refused together do not come together again.
fn pause(order: Storm, number: u32, tries: u64) -> Duration {
    let drawn = unit(draw(Purpose::Pause, u64::from(number) << 20 | tries));
    Duration::from_millis(order.retry_ms).mul_f64(0.5 + drawn / 2.0)
}
