use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Rooms {
    heat: Heat,
    now: Instant,
}

impl Rooms {
    fn new(deliveries_per_second: u32) -> Self {
        let heat = Heat::new(deliveries_per_second);
        let now = heat.edges[0];
        Self { heat, now }
    }

    /// A second in which each of the rooms of that many members got that many messages.
    fn second(&mut self, rooms: &[(&str, usize, u64)]) {
        self.after(SECOND, rooms);
    }

    fn after(&mut self, time: Duration, rooms: &[(&str, usize, u64)]) {
        self.now += time;
        let sent = rooms.iter().map(|&(name, members, messages)| {
            let deliveries = messages * u64::try_from(members).unwrap();
            let sent = Sent {
                messages,
                deliveries,
            };
            (Arc::from(name), members, sent)
        });
        self.heat.sample(self.now, sent);
    }

    /// Names and deliveries per second of the hottest.
    fn hottest(&self) -> Vec<(String, f64)> {
        let told = self.heat.hottest().rooms.into_iter();
        told.map(|room| (room.room, room.deliveries_per_second.round()))
            .collect()
    }
}

fn told(rooms: &[(&str, f64)]) -> Vec<(String, f64)> {
    let own = |&(name, rate): &(&str, f64)| (name.to_owned(), rate);
    rooms.iter().map(own).collect()
}

#[test]
fn rooms_beyond_the_rate_are_hot_the_hottest_first() {
    let mut rooms = Rooms::new(1000);
    rooms.second(&[("large", 900, 2), ("busy", 10, 500), ("quiet", 1000, 1)]);

    assert_eq!(
        rooms.hottest(),
        told(&[("busy", 5000.0), ("large", 1800.0)])
    );
    let large = &rooms.heat.hottest().rooms[1];
    assert_eq!((large.members, large.messages_per_second), (900, 2.0));
}

#[test]
fn the_rate_is_that_of_the_window() {
    let mut rooms = Rooms::new(1000);
    rooms.second(&[("a", 1000, 4)]);
    rooms.second(&[("a", 1000, 0)]);
    assert_eq!(rooms.hottest(), told(&[("a", 2000.0)]));
    rooms.after(2 * SECOND, &[("a", 1000, 4)]);
    assert_eq!(rooms.hottest(), told(&[("a", 2000.0)]));
    for _ in 0..WINDOW_SAMPLES {
        rooms.second(&[("a", 1000, 2)]);
    }
    assert_eq!(rooms.hottest(), told(&[("a", 2000.0)]));
}

#[test]
fn a_room_is_hot_until_the_window_has_passed() {
    let mut rooms = Rooms::new(1000);
    rooms.second(&[("a", 1000, 4), ("ends", 1000, 4)]);
    for _ in 1..WINDOW_SAMPLES {
        rooms.second(&[("a", 1000, 1)]);
        assert_eq!(rooms.heat.len(), 2);
    }
    rooms.second(&[("a", 1000, 1)]);
    assert_eq!(rooms.heat.len(), 0);
}

#[test]
fn what_came_in_no_time_at_all_waits_for_the_next_sample() {
    let mut rooms = Rooms::new(1000);
    rooms.after(SAMPLE_MIN / 2, &[("a", 1000, 1)]);
    assert_eq!(rooms.heat.len(), 0);
    rooms.second(&[("a", 1000, 1)]);
    assert_eq!(rooms.heat.len(), 0);
}

#[test]
fn what_is_told_is_bounded() {
    let mut rooms = Rooms::new(1);
    let names: Vec<_> = (0..2 * TOLD_MAX).map(|n| format!("{n:0>512}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 9)).collect();
    rooms.second(&all);

    assert_eq!(rooms.heat.len(), 2 * TOLD_MAX);
    assert_eq!(rooms.hottest().len(), TOLD_NAME_BYTES_MAX / 512);
}
