//! Distributions of times that merge exactly.

mod coarse;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize, de, ser};

pub(crate) use self::coarse::Coarse;

/// Times in whole microseconds, exact to three digits, up to an hour.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
}

/// The longest time that is told apart, microseconds.
const HIGHEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_US, DIGITS)
            .expect("invariant: the bounds are constant and within the histogram's own limits");
        Self { histogram }
    }
}

impl Latency {
    /// Counts a time, rounded to the nearest microsecond.
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.histogram
            .saturating_record(ns.saturating_add(500) / 1000);
    }

    /// Adds all times of another distribution; nothing is rounded again.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("invariant: all distributions have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Forgets all times.
    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The time within which a part of all times is, microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// 0 while it is empty.
    pub(crate) fn max_us(&self) -> u64 {
        self.histogram.max()
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.quantile_us(quantile);
        Summary {
            count: self.histogram.len(),
            min_us: self.histogram.min(),
            mean_us: self.histogram.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.max_us(),
        }
    }
}

/// The figures of a distribution, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min_us: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p99_9_us: u64,
    pub(crate) max_us: u64,
}

impl Serialize for Latency {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.histogram).map_err(ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let histogram = decode(&text).map_err(de::Error::custom)?;
        let mut latency = Self::default();
        latency
            .histogram
            .add(&histogram)
            .map_err(de::Error::custom)?;
        Ok(latency)
    }
}

fn encode(histogram: &Histogram<u64>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

fn decode(text: &str) -> anyhow::Result<Histogram<u64>> {
    let bytes = STANDARD.decode(text)?;
    Ok(Deserializer::new().deserialize(&mut &bytes[..])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_parts_that_travelled_equals_one_whole() {
        let mut whole = Latency::default();
        let mut parts = [Latency::default(), Latency::default(), Latency::default()];
        for value in 0..10_000_u64 {
            let ns = value * value * 997;
            whole.record_ns(ns);
            parts[usize::try_from(value % 3).unwrap()].record_ns(ns);
        }
        let mut merged = Latency::default();
        for part in &parts {
            let line = serde_json::to_string(part).unwrap();
            merged.merge(&serde_json::from_str(&line).unwrap());
        }
        assert_eq!(merged, whole);
        assert_eq!(merged.summary(), whole.summary());
        assert_eq!(merged.summary().count, 10_000);
    }

    #[test]
    fn figures_are_microseconds() {
        let mut latency = Latency::default();
        for ms in 1..=100 {
            latency.record_ns(ms * 1_000_000);
        }
        let summary = latency.summary();
        assert_eq!(summary.min_us, 1000);
        assert!((49_900..=50_100).contains(&summary.p50_us), "{summary:?}");
        assert!((98_900..=99_200).contains(&summary.p99_us), "{summary:?}");
        assert!((99_900..=100_100).contains(&summary.max_us), "{summary:?}");
        assert_eq!(Latency::default().summary().max_us, 0);
    }
}
