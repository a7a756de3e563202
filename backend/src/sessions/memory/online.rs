//! Members of each room, as each server told last.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Online {
    servers: HashMap<String, Told>,
}

struct Told {
    at: Instant,
    rooms: HashMap<String, i32>,
}

impl Online {
    /// Replaces what `server` told; false if that would be one too many.
    pub(super) fn set(
        &mut self,
        server: &str,
        rooms: HashMap<String, i32>,
        at: Instant,
        servers_max: usize,
    ) -> bool {
        if let Some(told) = self.servers.get_mut(server) {
            *told = Told { at, rooms };
            return true;
        }
        let has_room = self.servers.len() < servers_max;
        if has_room {
            self.servers.insert(server.to_owned(), Told { at, rooms });
        }
        has_room
    }

    pub(super) fn forget_older(&mut self, now: Instant, age: Duration) {
        self.servers.retain(|_, told| now - told.at < age);
    }

    pub(super) fn totals(&self) -> HashMap<String, i32> {
        let mut totals: HashMap<String, i32> = HashMap::new();
        for (room, &count) in self.servers.values().flat_map(|told| &told.rooms) {
            match totals.get_mut(room) {
                Some(total) => *total = total.saturating_add(count),
                None => {
                    totals.insert(room.clone(), count);
                }
            }
        }
        totals
    }
}
