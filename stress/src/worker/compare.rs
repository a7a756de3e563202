//! What the members of a thread received, against what was sent.

use std::collections::BTreeMap;

use super::member::{Member, Stage};
use super::post::Post;
use crate::account::{Expected, Verdict};
use crate::messages::{Layout, Plan, Rooms};

/// Members that are compared per turn of a thread's lock, so that its reads do not wait long.
const COMPARED_PER_LOCK: usize = 64;
/// Rooms that are accounted for one by one: those with the most members and pushes.
pub(crate) const LARGEST_ROOMS: u32 = 10;

/// Sums over the chosen members.
#[derive(Default)]
pub(super) struct Compared {
    /// Of all but the slow members.
    pub(super) verdict: Verdict,
    pub(super) members_with_loss: u64,
    pub(super) rooms: Rooms,
    pub(super) slow: Verdict,
    pub(super) slow_members: u64,
}

pub(super) fn compare(
    post: &Post,
    streams: &BTreeMap<u32, Expected>,
    grace_ns: u64,
    chosen: fn(&Member) -> bool,
) -> Compared {
    let (mut compared, mut first) = (Compared::default(), 0);
    loop {
        let state = post.state.lock();
        let Some(rest) = state.members.get(first..).filter(|rest| !rest.is_empty()) else {
            return compared;
        };
        for member in rest.iter().take(COMPARED_PER_LOCK) {
            if chosen(member) {
                compared.add(&post.plan, member, streams, grace_ns);
            }
        }
        first += COMPARED_PER_LOCK;
    }
}

/// Whether every open member has all that it should get, and no request waits for its answer.
pub(super) fn is_complete(post: &Post, streams: &BTreeMap<u32, Expected>, grace_ns: u64) -> bool {
    let open = |member: &Member| member.stage == Stage::Ready;
    let waits = |member: &Member| {
        let changing = member.life.as_ref().is_some_and(|life| !life.is_settled());
        open(member) && (!member.beats.is_empty() || changing)
    };
    if post.state.lock().members.iter().any(waits) {
        return false;
    }
    let compared = compare(post, streams, grace_ns, open);
    compared.verdict.lost + compared.slow.lost == 0
}

impl Compared {
    fn add(
        &mut self,
        plan: &Plan,
        member: &Member,
        streams: &BTreeMap<u32, Expected>,
        grace_ns: u64,
    ) {
        let rooms = match plan.layout {
            Layout::Groups(_) | Layout::Room | Layout::Users => 0,
            Layout::Rooms(crowd)
            | Layout::RoomsAndEveryone(crowd)
            | Layout::RoomsAndUsers(crowd) => crowd.rooms,
        };
        let mut sum = Verdict::default();
        member.verdicts(streams, grace_ns, |stream, verdict| {
            sum += verdict;
            if stream >= rooms || member.slow {
                return;
            }
            if stream < LARGEST_ROOMS {
                *self.rooms.largest.entry(stream).or_default() += verdict;
            }
            if verdict.lost > 0 {
                self.rooms.with_loss.insert(stream);
            }
        });
        if member.slow {
            self.slow += sum;
            self.slow_members += 1;
        } else {
            self.verdict += sum;
            self.members_with_loss += u64::from(sum.lost > 0);
        }
    }
}
