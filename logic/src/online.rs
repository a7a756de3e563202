//! Members of each room, over all comets.
//!
//! Merging what the comets told is the costly part, so its result is kept and
//! shared: a question is answered from totals of the last moment. A comet
//! that has just told its own counts gets them back in the totals, unless
//! merging again so soon would take more than a tenth of the time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use halley_backend::sessions::{Sessions, SessionsError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Pause after a merge on a comet's behalf, in times of what it took.
const PAUSE_PER_COST: u32 = 10;

/// Members of each room by full name (`type://room`).
pub(crate) type Totals = Arc<HashMap<String, i32>>;

/// The online counts of rooms.
#[derive(Debug)]
pub(crate) struct Online {
    sessions: Arc<dyn Sessions>,
    /// How old the totals may be that a question is answered from.
    fresh: Duration,
    merged: Mutex<Option<Merged>>,
}

/// A room and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Top {
    /// The name behind `type://`.
    pub(crate) room: String,
    /// Members on all comets.
    pub(crate) count: i32,
}

#[derive(Debug)]
struct Merged {
    totals: Totals,
    at: Instant,
    cost: Duration,
}

impl Online {
    /// Counts over `sessions`, at most `fresh` old.
    pub(crate) fn new(sessions: Arc<dyn Sessions>, fresh: Duration) -> Self {
        Self {
            sessions,
            fresh,
            merged: Mutex::default(),
        }
    }

    /// Takes in the members of each room on `server` and returns the totals.
    ///
    /// # Cancel safety
    ///
    /// The counts are taken in or not; calling again is always right.
    pub(crate) async fn renew(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<Totals, SessionsError> {
        self.sessions.set_online(server, rooms).await?;
        self.totals(|merged| self.fresh.min(merged.cost * PAUSE_PER_COST))
            .await
    }

    /// The `limit` rooms of exactly the type `kind` that have the most
    /// members, the largest first, equals by name.
    pub(crate) async fn top(&self, kind: &str, limit: usize) -> Result<Vec<Top>, SessionsError> {
        let totals = self.totals(|_| self.fresh).await?;
        let mut rooms: Vec<_> = totals
            .iter()
            .filter_map(|(name, &count)| {
                let room = name.strip_prefix(kind)?.strip_prefix("://")?;
                Some((Reverse(count), room))
            })
            .collect();
        if rooms.len() > limit {
            rooms.select_nth_unstable(limit);
            rooms.truncate(limit);
        }
        rooms.sort_unstable();
        let tops = rooms.into_iter().map(|(Reverse(count), room)| Top {
            room: room.to_owned(),
            count,
        });
        Ok(tops.collect())
    }

    /// The members of each of the `rooms` of type `kind`; 0 when unknown.
    pub(crate) async fn room(
        &self,
        kind: &str,
        rooms: Vec<String>,
    ) -> Result<BTreeMap<String, i32>, SessionsError> {
        let totals = self.totals(|_| self.fresh).await?;
        let counts = rooms.into_iter().map(|room| {
            let count = totals.get(&room_name(kind, &room)).copied();
            (room, count.unwrap_or(0))
        });
        Ok(counts.collect())
    }

    /// The totals, merged anew when older than `age_max` says. Callers that
    /// come meanwhile wait for the one merge.
    async fn totals(
        &self,
        age_max: impl FnOnce(&Merged) -> Duration,
    ) -> Result<Totals, SessionsError> {
        let mut merged = self.merged.lock().await;
        if let Some(merged) = &*merged
            && merged.at.elapsed() < age_max(merged)
        {
            return Ok(Arc::clone(&merged.totals));
        }
        let at = Instant::now();
        let totals = Arc::new(self.sessions.online().await?);
        *merged = Some(Merged {
            totals: Arc::clone(&totals),
            at,
            cost: at.elapsed(),
        });
        Ok(totals)
    }
}

/// A room's full name.
pub(crate) fn room_name(kind: &str, room: &str) -> String {
    [kind, "://", room].concat()
}

#[cfg(test)]
mod tests {
    use halley_backend::sessions::{MemorySessions, MemorySessionsConfig};

    use super::*;

    const FRESH: Duration = Duration::from_secs(1);

    fn online() -> Online {
        let sessions = MemorySessions::new(MemorySessionsConfig::default());
        Online::new(Arc::new(sessions), FRESH)
    }

    fn rooms(rooms: &[(&str, i32)]) -> HashMap<String, i32> {
        rooms
            .iter()
            .map(|&(name, count)| (name.to_owned(), count))
            .collect()
    }

    async fn top(online: &Online, kind: &str, limit: usize) -> Vec<(String, i32)> {
        let tops = online.top(kind, limit).await.unwrap();
        tops.into_iter().map(|top| (top.room, top.count)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_comet_gets_the_totals_of_all() {
        let online = online();
        online
            .renew("a", rooms(&[("live://1", 2), ("live://2", 1)]))
            .await
            .unwrap();

        let totals = online.renew("b", rooms(&[("live://1", 3)])).await.unwrap();

        assert_eq!(*totals, rooms(&[("live://1", 5), ("live://2", 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_type_is_matched_whole() {
        let online = online();
        let told = rooms(&[
            ("live://1", 2),
            ("livex://1", 9),
            ("live", 9),
            ("live://a/b", 3),
            ("live://", 1),
            ("live://z", 3),
        ]);
        online.renew("a", told).await.unwrap();

        assert_eq!(
            top(&online, "live", 9).await,
            [("a/b", 3), ("z", 3), ("1", 2), ("", 1)].map(|(room, count)| (room.to_owned(), count))
        );
        assert_eq!(top(&online, "live", 1).await, [("a/b".to_owned(), 3)]);
        assert_eq!(top(&online, "liv", 9).await, []);
        assert_eq!(top(&online, "live", usize::MAX).await.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_rooms_are_empty() {
        let online = online();
        online.renew("a", rooms(&[("live://1", 2)])).await.unwrap();

        let counts = online
            .room("live", vec!["1".to_owned(), "2".to_owned()])
            .await
            .unwrap();

        assert_eq!(
            counts,
            BTreeMap::from([("1".to_owned(), 2), ("2".to_owned(), 0)])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_fresh() {
        let online = online();
        assert_eq!(top(&online, "live", 1).await, []);
        // Told by way of another logic node.
        online
            .sessions
            .set_online("b", rooms(&[("live://1", 1)]))
            .await
            .unwrap();
        assert_eq!(top(&online, "live", 1).await, []);

        tokio::time::advance(FRESH).await;

        assert_eq!(top(&online, "live", 1).await, [("1".to_owned(), 1)]);
    }
}
