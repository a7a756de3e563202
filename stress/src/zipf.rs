//! Who is in which room, and which room is pushed to: few rooms have many, many have few.

/// A Zipf distribution over rooms: the share of room *r* falls with *(r + 1)* to the power of the exponent.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// The share of all rooms up to each.
    shares: Vec<f64>,
}

/// What a number is drawn for: draws for one purpose say nothing about those for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The room that a member logs in to.
    Home = 1,
    /// The room that a push goes to.
    Push,
    /// Whether a member is connected at the start.
    Online,
    /// Whether a member reads late.
    Slow,
    /// Which member does something.
    Actor,
    /// The room that a member changes to.
    Change,
    /// How long to wait for the next try.
    Pause,
}

impl Zipf {
    /// With exponent 0 all rooms are equal.
    pub(crate) fn new(rooms: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=rooms.max(1))
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        for share in &mut shares {
            *share /= sum;
        }
        Self { shares }
    }

    /// The room that a drawn number stands for.
    pub(crate) fn room(&self, drawn: u64) -> u32 {
        let share = unit(drawn);
        let room = self.shares.partition_point(|up_to| *up_to <= share);
        // The last share may be a rounding error short of 1.
        u32::try_from(room.min(self.shares.len() - 1)).unwrap_or(u32::MAX)
    }
}

/// A number that looks random and is the same in every run, so that runs can be compared: splitmix64.
pub(crate) fn draw(purpose: Purpose, index: u64) -> u64 {
    let mut mixed = (index ^ ((purpose as u64) << 56)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether something that happens to a share of all happens to this one.
pub(crate) fn chance(purpose: Purpose, index: u64, share: f64) -> bool {
    unit(draw(purpose, index)) < share
}

/// A drawn number between 0 and 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what a float between 0 and 1 holds"
)]
pub(crate) fn unit(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(zipf: &Zipf, purpose: Purpose, draws: u64) -> Vec<u64> {
        let mut counts = vec![0; zipf.shares.len()];
        for index in 0..draws {
            counts[zipf.room(draw(purpose, index)) as usize] += 1;
        }
        counts
    }

    #[test]
    fn rooms_get_their_shares() {
        let zipf = Zipf::new(100, 1.0);
        let counts = rooms(&zipf, Purpose::Home, 1_000_000);
        // The shares are 1/1, 1/2, 1/3 … of 1/5.187.
        for (rank, count) in (1..).zip(&counts) {
            let share = 1_000_000_u64 * 1000 / 5187 / rank;
            assert!(count.abs_diff(share) < 600, "{rank}: {count} of {share}");
        }
    }

    #[test]
    fn without_an_exponent_all_rooms_are_equal() {
        let counts = rooms(&Zipf::new(10, 0.0), Purpose::Push, 100_000);
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 500),
            "{counts:?}"
        );
        assert_eq!(rooms(&Zipf::new(1, 3.0), Purpose::Push, 10), [10]);
    }

    #[test]
    fn draws_are_the_same_in_every_run_and_differ_by_purpose() {
        assert_eq!(draw(Purpose::Home, 7), draw(Purpose::Home, 7));
        assert_ne!(draw(Purpose::Home, 7), draw(Purpose::Push, 7));
        let chosen = (0..10_000).filter(|index| chance(Purpose::Slow, *index, 0.1));
        assert!((900..1100).contains(&chosen.count()));
        assert_eq!(
            (0..1000)
                .filter(|index| chance(Purpose::Online, *index, 1.0))
                .count(),
            1000
        );
    }
}
