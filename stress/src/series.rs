//! What happened over time, in a bounded number of points however long a run takes.

use crate::latency::Coarse;
use crate::messages::{Interval, Times};
use crate::server::Usage;

/// A run that needs more points puts two into one, again and again.
const POINTS_MAX: u64 = 240;

/// A run over time.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    epoch_ns: u64,
    interval_ns: u64,
    intervals_per_point: u64,
    points: Vec<Point>,
}

/// A short time of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) times: Times<Coarse>,
    /// The last one of the point, if one was taken in it.
    pub(crate) sample: Option<Sample>,
}

/// How things stood at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// On the clock of [`now_ns`](crate::clock::now_ns).
    pub(crate) at_ns: u64,
    /// Connections that were ready.
    pub(crate) open: u64,
    /// Pushes until then.
    pub(crate) pushes: u64,
    /// Of the server's processes, where they can be read.
    pub(crate) usage: Option<Usage>,
}

impl Series {
    /// Counts from `epoch_ns` in intervals of the given width, which is also that of a point at first.
    pub(crate) fn new(epoch_ns: u64, interval_ms: u64) -> Self {
        Self {
            epoch_ns,
            interval_ns: interval_ms.max(1) * 1_000_000,
            intervals_per_point: 1,
            points: Vec::new(),
        }
    }

    /// Adds the times of a worker's interval.
    pub(crate) fn add(&mut self, interval: &Interval) {
        self.point(interval.index).times.merge(&interval.times);
    }

    pub(crate) fn sample(&mut self, sample: Sample) {
        let index = sample.at_ns.saturating_sub(self.epoch_ns) / self.interval_ns;
        self.point(index).sample = Some(sample);
    }

    /// The points in order, each with the seconds from the epoch to its middle.
    pub(crate) fn points(&self) -> impl Iterator<Item = (f64, &Point)> + '_ {
        let width = self.point_seconds();
        (0_u32..)
            .zip(&self.points)
            .map(move |(place, point)| ((f64::from(place) + 0.5) * width, point))
    }

    /// All samples in order, each with the seconds from the epoch to it.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (f64, &Sample)> + '_ {
        self.points
            .iter()
            .filter_map(|point| point.sample.as_ref())
            .map(|sample| (self.seconds_at(sample.at_ns), sample))
    }

    /// The width of a point, seconds.
    pub(crate) fn point_seconds(&self) -> f64 {
        seconds(self.interval_ns * self.intervals_per_point)
    }

    /// Seconds from the epoch to a moment.
    pub(crate) fn seconds_at(&self, at_ns: u64) -> f64 {
        seconds(at_ns.saturating_sub(self.epoch_ns))
    }

    fn point(&mut self, interval: u64) -> &mut Point {
        while interval / self.intervals_per_point >= POINTS_MAX {
            self.fold();
        }
        let place = usize::try_from(interval / self.intervals_per_point)
            .expect("invariant: a place is below POINTS_MAX");
        if place >= self.points.len() {
            self.points.resize(place + 1, Point::default());
        }
        &mut self.points[place]
    }

    /// Puts every two points into one.
    fn fold(&mut self) {
        self.intervals_per_point *= 2;
        self.points = self
            .points
            .chunks(2)
            .map(|pair| {
                let mut folded = Point::default();
                for point in pair {
                    folded.times.merge(&point.times);
                    folded.sample = point.sample.or(folded.sample);
                }
                folded
            })
            .collect();
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; exact below 2^52"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;

    fn interval(index: u64, ms: u64) -> Interval {
        let mut times = Times::<Latency>::default();
        times.delivery.record_ns(ms * 1_000_000);
        Interval {
            index,
            times: times.coarse(),
        }
    }

    #[test]
    fn a_long_run_has_few_points_and_loses_nothing() {
        let mut series = Series::new(1_000, 250);
        for index in 0..10_000 {
            series.add(&interval(index, 1 + index % 100));
            series.sample(Sample {
                at_ns: 1_000 + index * 250_000_000,
                open: index,
                ..Sample::default()
            });
        }
        let points: Vec<_> = series.points().collect();
        assert!((120..=240).contains(&points.len()), "{}", points.len());
        let counted: u64 = points
            .iter()
            .map(|(_, point)| point.times.delivery.count())
            .sum();
        assert_eq!(counted, 10_000);
        assert!((series.point_seconds() - 16.0).abs() < 1e-9);
        let (at, first) = points[0];
        assert!((at - 8.0).abs() < 1e-9);
        assert_eq!(first.sample.map(|sample| sample.open), Some(63));
        assert_eq!(
            series.samples().last().map(|(_, last)| last.open),
            Some(9_999)
        );
    }

    #[test]
    fn workers_meet_in_the_same_point() {
        let mut series = Series::new(0, 250);
        for (index, ms) in [(0, 1), (2, 5), (0, 3), (2, 7)] {
            series.add(&interval(index, ms));
        }
        let counts: Vec<u64> = series
            .points()
            .map(|(_, point)| point.times.delivery.count())
            .collect();
        assert_eq!(counts, [2, 0, 2]);
    }
}
