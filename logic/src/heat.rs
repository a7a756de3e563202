//! Hot rooms of all comets.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use halley_proto::halley::node::{HotRoom, HotRooms};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long it counts what a comet told. With several logics it tells each of
/// them only now and then.
const FRESH: Duration = Duration::from_secs(15);

/// What the comets last told of their hot rooms.
#[derive(Debug, Default)]
pub(crate) struct Heat {
    /// By comet; as many as there are nodes.
    told: Mutex<HashMap<String, (Instant, HotRooms)>>,
}

impl Heat {
    /// Takes in what `server` tells.
    pub(crate) fn tell(&self, server: &str, rooms: HotRooms) {
        let now = Instant::now();
        let mut told = self.told.lock();
        told.retain(|_, (at, _)| now - *at < FRESH);
        if rooms.rooms.is_empty() {
            told.remove(server);
        } else {
            told.insert(server.to_owned(), (now, rooms));
        }
    }

    /// The `limit` hottest rooms, the most deliveries first, each as the sum
    /// over the comets for which it is hot.
    pub(crate) fn hottest(&self, limit: usize) -> Vec<HotRoom> {
        let now = Instant::now();
        let mut rooms: BTreeMap<String, HotRoom> = BTreeMap::new();
        for (at, told) in self.told.lock().values() {
            if now - *at >= FRESH {
                continue;
            }
            for hot in &told.rooms {
                let sum = rooms.entry(hot.room.clone()).or_default();
                sum.members += hot.members;
                sum.deliveries_per_second += hot.deliveries_per_second;
                // Each comet with members gets each message.
                sum.messages_per_second = sum.messages_per_second.max(hot.messages_per_second);
            }
        }
        let mut rooms: Vec<_> = rooms
            .into_iter()
            .map(|(room, sum)| HotRoom { room, ..sum })
            .collect();
        rooms.sort_by(|a, b| b.deliveries_per_second.total_cmp(&a.deliveries_per_second));
        rooms.truncate(limit);
        rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(room: &str, deliveries_per_second: f64) -> HotRoom {
        HotRoom {
            room: room.to_owned(),
            members: 10,
            messages_per_second: deliveries_per_second / 10.0,
            deliveries_per_second,
        }
    }

    fn told(rooms: &[HotRoom]) -> HotRooms {
        HotRooms {
            rooms: rooms.to_vec(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comets_tell_is_added_up_while_it_is_fresh() {
        let heat = Heat::default();
        heat.tell("comet-1", told(&[hot("a", 30.0), hot("b", 20.0)]));
        tokio::time::advance(FRESH / 2).await;
        heat.tell("comet-2", told(&[hot("b", 20.0)]));

        let both = HotRoom {
            members: 20,
            messages_per_second: 2.0,
            ..hot("b", 40.0)
        };
        assert_eq!(heat.hottest(9), [both.clone(), hot("a", 30.0)]);
        assert_eq!(heat.hottest(1), [both]);
        tokio::time::advance(FRESH / 2).await;
        assert_eq!(heat.hottest(9), [hot("b", 20.0)]);
        heat.tell("comet-2", told(&[]));
        assert_eq!(heat.hottest(9), []);
    }
}
