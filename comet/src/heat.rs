//! Hot rooms: those that cost the most, over a sliding window.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use halley_proto::halley::node::{HotRoom, HotRooms};
use tokio::time::Instant;

use crate::room::Sent;

/// Samples in the window.
const WINDOW_SAMPLES: usize = 10;
/// What was sent in less time than this says nothing about a second.
const SAMPLE_MIN: Duration = Duration::from_millis(100);
/// Rooms that are told of.
const TOLD_MAX: usize = 10;
/// Bytes of their names in all: they travel in a header.
const TOLD_NAME_BYTES_MAX: usize = 4096;

/// What was sent in rooms of late. A room is hot that had more than so many
/// deliveries per second in one of the samples.
#[derive(Debug)]
pub(crate) struct Heat {
    deliveries_per_second: f64,
    /// When the samples in the window began, and the newest one ended.
    edges: VecDeque<Instant>,
    /// Of each hot room, its samples since it became so.
    rooms: HashMap<Arc<str>, Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    samples: VecDeque<Sent>,
    /// Samples since the last hot one.
    cool: usize,
    members: usize,
}

impl Heat {
    pub(crate) fn new(deliveries_per_second: u32) -> Self {
        Self {
            deliveries_per_second: deliveries_per_second.into(),
            edges: VecDeque::from([Instant::now()]),
            rooms: HashMap::new(),
        }
    }

    /// Takes in what was sent in rooms since the last sample: their names, their
    /// members, and that.
    pub(crate) fn sample(
        &mut self,
        now: Instant,
        rooms: impl Iterator<Item = (Arc<str>, usize, Sent)>,
    ) {
        let begun = self.edges.back().copied().unwrap_or(now);
        if now - begun < SAMPLE_MIN {
            return;
        }
        let hot = self.deliveries_per_second * (now - begun).as_secs_f64();
        self.edges.push_back(now);
        if self.edges.len() > WINDOW_SAMPLES + 1 {
            self.edges.pop_front();
        }
        for recent in self.rooms.values_mut() {
            recent.begin();
        }
        for (name, members, sent) in rooms {
            let is_hot = as_f64(sent.deliveries) > hot;
            let recent = if is_hot {
                self.rooms.entry(name).or_default()
            } else if let Some(recent) = self.rooms.get_mut(&name) {
                recent
            } else {
                continue;
            };
            recent.add(sent, is_hot);
            recent.members = members;
        }
        self.rooms.retain(|_, recent| recent.cool < WINDOW_SAMPLES);
    }

    /// Hot rooms now.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The hottest, the most deliveries first.
    pub(crate) fn hottest(&self) -> HotRooms {
        let told = |(name, recent): (&Arc<str>, &Recent)| {
            let mut edges = self.edges.iter().rev();
            let end = edges.next().copied();
            let begin = edges.nth(recent.samples.len().saturating_sub(1)).copied();
            let took = end
                .zip(begin)
                .map_or(SAMPLE_MIN, |(end, begin)| end - begin);
            let rate = |of: fn(&Sent) -> u64| {
                let count = recent.samples.iter().map(of).sum();
                as_f64(count) / took.as_secs_f64()
            };
            HotRoom {
                room: name.to_string(),
                members: u64::try_from(recent.members).unwrap_or(u64::MAX),
                messages_per_second: rate(|sent| sent.messages),
                deliveries_per_second: rate(|sent| sent.deliveries),
            }
        };
        let mut rooms: Vec<_> = self.rooms.iter().map(told).collect();
        rooms.sort_by(|a, b| b.deliveries_per_second.total_cmp(&a.deliveries_per_second));
        rooms.truncate(TOLD_MAX);
        let mut bytes = 0;
        rooms.retain(|room| {
            bytes += room.room.len();
            bytes <= TOLD_NAME_BYTES_MAX
        });
        HotRooms { rooms }
    }
}

impl Recent {
    fn begin(&mut self) {
        self.samples.push_back(Sent::default());
        if self.samples.len() > WINDOW_SAMPLES {
            self.samples.pop_front();
        }
        self.cool += 1;
    }

    fn add(&mut self, sent: Sent, is_hot: bool) {
        match self.samples.back_mut() {
            Some(last) => *last = sent,
            None => self.samples.push_back(sent),
        }
        if is_hot {
            self.cool = 0;
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is told to people; beyond 2^53 deliveries its last digits do not matter"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
