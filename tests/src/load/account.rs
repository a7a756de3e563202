//! What became of every push.

use std::collections::HashSet;
use std::time::Duration;

use super::Options;
use super::counts::{Counts, WATCHED};
use super::crowd::{Crowd, Diary};
use super::pusher::{Answer, Push, Pusher};

/// How long before a push and after its answer a user has to have been connected
/// for everyone to know it: logics ask the registry once a second.
const KNOWN_AFTER: Duration = Duration::from_secs(3);

/// Receivers of accepted pushes by what became of them: a push to a user has
/// one, a push to a room has every member.
///
/// `accepted = delivered + away + expired and dropped + unaccounted`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Pushes that were sent.
    pub pushes: u64,
    /// Pushes that were not taken, and so need not arrive.
    pub refused: u64,
    /// Pushes whose answer was lost for good.
    pub unknown: u64,
    /// Pushes whose answer said that the user has no connection.
    pub offline: u64,
    /// Of those, users who were connected all the time, from well before the
    /// push until well after the answer.
    pub offline_connected: u64,
    /// Receivers of the accepted pushes.
    pub accepted: u64,
    /// Received.
    pub delivered: u64,
    /// The receiver had no connection when the push was sent, or lost the one
    /// that it had before the push was owed.
    pub away: u64,
    /// Not received over a lasting connection, and counted so by the system.
    pub explained: u64,
    /// Not received over a lasting connection, and nobody knows why.
    pub unaccounted: u64,
    /// Received again.
    pub duplicates: u64,
    /// Received after a later one of the same user or room.
    pub misordered: u64,
    /// What no push of this run explains.
    pub foreign: u64,
    /// What the system counted, whoever it was for.
    pub counted: Vec<(&'static str, u64)>,
}

impl Account {
    pub(super) fn of(options: &Options, crowd: &Crowd, pusher: &Pusher, counts: &Counts) -> Self {
        let totals = counts.totals();
        let mut account = Self {
            counted: WATCHED
                .iter()
                .map(|watched| watched.name)
                .zip(totals.iter().copied())
                .collect(),
            ..Self::default()
        };
        let rooms: Vec<Vec<Push>> = pusher.rooms.iter().map(|log| log.lock().clone()).collect();
        for room in &rooms {
            account.count_answers(room);
        }
        let mut missing = 0;
        for (user, diary) in crowd.diaries().enumerate() {
            let alone = pusher.users[user].lock().clone();
            account.count_answers(&alone);
            account.offline_connected += offline_connected(&diary, &alone);
            missing += account.compare(options, &diary, &alone, &diary.alone);
            missing += account.compare(options, &diary, &rooms[user % options.rooms], &diary.room);
            account.foreign += u64::from(diary.foreign);
        }
        let counted = WATCHED.iter().zip(&totals);
        let counted = counted.filter(|(watched, _)| watched.explains);
        let counted: u64 = counted.map(|(_, total)| total).sum();
        account.explained = missing.min(counted);
        account.unaccounted = missing - account.explained;
        account
    }

    /// Whether all has arrived that anyone waits for.
    pub(super) fn is_settled(&self) -> bool {
        self.accepted == self.delivered + self.away
    }

    fn count_answers(&mut self, pushes: &[Push]) {
        for push in pushes {
            self.pushes += 1;
            match push.answer {
                Answer::Accepted => {}
                Answer::Offline => self.offline += 1,
                Answer::Refused => self.refused += 1,
                Answer::Unknown | Answer::Pending => self.unknown += 1,
            }
        }
    }

    /// Compares what was pushed with what one receiver got, and returns what
    /// is missing over a lasting connection.
    fn compare(&mut self, options: &Options, diary: &Diary, pushes: &[Push], got: &[u32]) -> u64 {
        let mut seen = HashSet::with_capacity(got.len());
        let mut newest = None;
        for &number in got {
            let push = pushes.get(number as usize);
            if push.is_none_or(|push| matches!(push.answer, Answer::Refused | Answer::Offline)) {
                self.foreign += 1;
            }
            if !seen.insert(number) {
                self.duplicates += 1;
            } else if newest.is_some_and(|newest| newest > number) {
                self.misordered += 1;
            } else {
                newest = Some(number);
            }
        }
        let mut missing = 0;
        for (number, push) in (0_u32..).zip(pushes) {
            if push.answer != Answer::Accepted {
                continue;
            }
            self.accepted += 1;
            if seen.contains(&number) {
                self.delivered += 1;
            } else if diary.was_connected(push.sent, push.sent + options.owed_after) {
                missing += 1;
            } else {
                self.away += 1;
            }
        }
        missing
    }
}

/// Pushes whose answer denies a connection that there was.
fn offline_connected(diary: &Diary, pushes: &[Push]) -> u64 {
    let denied = |push: &&Push| {
        let connected = |from| diary.was_connected(from, push.answered + KNOWN_AFTER);
        push.answer == Answer::Offline && push.sent.checked_sub(KNOWN_AFTER).is_some_and(connected)
    };
    pushes.iter().filter(denied).count() as u64
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_a_lasting_connection_makes_an_offline_answer_wrong() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let push = |answer, sent, answered| Push {
            sent: at(sent),
            answer,
            answered: at(answered),
        };
        let diary = Diary {
            connections: vec![(at(0), Some(at(20))), (at(30), None)],
            ..Diary::default()
        };
        for (sent, answered, wrong) in [
            (1, 1, 0),
            (5, 6, 1),
            (5, 19, 0),
            (25, 25, 0),
            (31, 40, 0),
            (35, 60, 1),
        ] {
            let offline = push(Answer::Offline, sent, answered);
            let accepted = push(Answer::Accepted, sent, answered);
            let found = offline_connected(&diary, &[offline, accepted]);
            assert_eq!(found, wrong, "{sent} to {answered}");
        }
    }
}
