//! Distributions that are drawn.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Latency, decode, encode};

/// Times in whole microseconds, exact to two digits: enough for a curve, and small enough to keep one for each moment
/// of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coarse {
    /// Grows with what it holds; none while it is empty.
    histogram: Option<Histogram<u64>>,
}

const DIGITS: u8 = 2;

impl Coarse {
    /// Adds all times of another distribution; nothing is rounded again.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let Some(other) = &other.histogram {
            self.add(other);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// `None` while it is empty.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref()?;
        Some(histogram.value_at_quantile(quantile))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_none()
    }

    fn add(&mut self, other: &Histogram<u64>) {
        self.histogram
            .get_or_insert_with(empty)
            .add(other)
            .expect("invariant: a histogram that grows has room for everything");
    }
}

impl From<&Latency> for Coarse {
    fn from(latency: &Latency) -> Self {
        let mut coarse = Self::default();
        if latency.count() > 0 {
            coarse.add(&latency.histogram);
        }
        coarse
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("invariant: two digits are within the histogram's own limits")
}

impl Serialize for Coarse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.histogram.as_ref().map(encode);
        let text = text.transpose().map_err(ser::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Coarse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut coarse = Self::default();
        if let Some(text) = Option::<String>::deserialize(deserializer)? {
            coarse.add(&decode(&text).map_err(de::Error::custom)?);
        }
        Ok(coarse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_and_adds_up_to_two_digits() {
        let (mut small, mut large) = (Latency::default(), Latency::default());
        for ms in 1..=100 {
            small.record_ns(ms * 1_000_000);
            large.record_ns(ms * 1_000_000_000);
        }
        let mut sum = Coarse::default();
        for part in [&small, &large, &Latency::default()] {
            let line = serde_json::to_string(&Coarse::from(part)).unwrap();
            sum.merge(&serde_json::from_str(&line).unwrap());
        }
        assert_eq!(sum.count(), 200);
        let near = |quantile: f64, expected_us: u64| {
            let found = sum.quantile_us(quantile).unwrap();
            assert!(found.abs_diff(expected_us) <= expected_us / 50, "{found}");
        };
        near(0.25, 50_000);
        near(0.75, 50_000_000);
        near(1.0, 100_000_000);
    }

    #[test]
    fn nothing_takes_no_room() {
        let coarse = Coarse::from(&Latency::default());
        assert!(coarse.is_empty());
        assert_eq!(coarse.quantile_us(0.5), None);
        assert_eq!(serde_json::to_string(&coarse).unwrap(), "null");
    }
}
