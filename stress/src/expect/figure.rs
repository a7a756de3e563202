//! The figures that can be expected to have a value.

use std::str::FromStr;

use crate::args::BYTE_UNITS;
use crate::latency::Summary;
use crate::report::{Report, StormReport};

/// A figure of the report.
#[derive(Clone, Copy, Debug)]
pub(super) enum Figure {
    Single(&'static Single),
    Quantile(&'static Distribution, &'static Quantile),
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A number of things, or of things per second.
    Plain,
    /// Microseconds.
    Time,
    Bytes,
}

#[derive(Debug)]
pub(super) struct Single {
    name: &'static str,
    source: Source,
}

/// Where a figure comes from, and what it is there.
#[derive(Debug)]
enum Source {
    Count(fn(&Report) -> Option<u64>),
    PerSecond(fn(&Report) -> Option<f64>),
    Seconds(fn(&Report) -> Option<f64>),
    Bytes(fn(&Report) -> Option<f64>),
}

#[derive(Debug)]
pub(super) struct Distribution {
    /// Empty for the one that is meant without a name.
    name: &'static str,
    of: fn(&Report) -> Option<&Summary>,
}

#[derive(Debug)]
pub(super) struct Quantile {
    name: &'static str,
    of: fn(&Summary) -> f64,
}

const SINGLES: &[Single] = &[
    count("loss", |report| {
        Some(report.deliveries.as_ref()?.verdict.lost)
    }),
    count("duplicated", |report| {
        Some(report.deliveries.as_ref()?.verdict.duplicated)
    }),
    count("reordered", |report| {
        Some(report.deliveries.as_ref()?.verdict.reordered)
    }),
    count("unexpected", |report| {
        Some(report.deliveries.as_ref()?.verdict.unexpected)
    }),
    count("misrouted", |report| {
        Some(report.deliveries.as_ref()?.misrouted)
    }),
    count("corrupt", |report| {
        Some(report.deliveries.as_ref()?.corrupt)
    }),
    count("slow_loss", |report| {
        Some(report.slow.as_ref()?.verdict.lost)
    }),
    count("slow_disconnects", |report| {
        Some(report.slow.as_ref()?.disconnects.values().sum())
    }),
    count("connect_failures", |report| Some(report.connect_failures())),
    count("disconnects", |report| {
        Some(report.connections.disconnects.values().sum())
    }),
    count("unanswered", |report| Some(report.heartbeats.unanswered())),
    count("refused", |report| {
        Some(report.pushes.as_ref()?.refused.values().sum())
    }),
    count("push_errors", |report| {
        Some(report.pushes.as_ref()?.errors.values().sum())
    }),
    count("unsent", |report| Some(report.pushes.as_ref()?.unsent())),
    count("unanswered_changes", |report| {
        Some(report.turnover.as_ref()?.unanswered())
    }),
    count("stranded", |report| {
        report.over_storms(StormReport::stranded)
    }),
    count("refused_tries", |report| {
        report.over_storms(|storm| storm.refused.values().sum())
    }),
    per_second("push_rate", |report| {
        Some(report.pushes.as_ref()?.per_second)
    }),
    per_second("delivery_rate", |report| {
        Some(report.deliveries.as_ref()?.per_second)
    }),
    per_second("connect_rate", |report| match &report.churn {
        Some(churn) => Some(churn.per_second),
        None => Some(report.connections.per_second),
    }),
    seconds("reconnect", |report| {
        // One that not all came back from lasted longer than anybody knows.
        let seconds: Option<Vec<f64>> = report.storms.iter().map(|storm| storm.seconds).collect();
        seconds?.into_iter().max_by(f64::total_cmp)
    }),
    seconds("cpu", |report| report.server.cpu_seconds),
    seconds("cpu_per_million", |report| {
        report.server.cpu_seconds_per_million
    }),
    seconds("cpu_per_connect", |report| {
        Some(report.churn.as_ref()?.cpu_us_per_connect? / 1e6)
    }),
    bytes("memory", |report| report.server.bytes_per_connection),
    bytes("kernel_memory", |report| {
        Some(report.memory.as_ref()?.kernel_bytes_per_end)
    }),
    bytes("growth", |report| report.growth.as_ref()?.bytes_per_hour),
];

const DISTRIBUTIONS: &[Distribution] = &[
    times("", |report| Some(&report.deliveries.as_ref()?.latency)),
    times("delivery", |report| {
        Some(&report.deliveries.as_ref()?.latency)
    }),
    times("slow", |report| Some(&report.slow.as_ref()?.latency)),
    times("answer", |report| Some(&report.pushes.as_ref()?.answer)),
    times("lag", |report| Some(&report.pushes.as_ref()?.lag)),
    times("heartbeat", |report| Some(&report.heartbeats.round_trip)),
    times("handshake", |report| Some(&report.connections.handshake)),
    times("login", |report| Some(&report.churn.as_ref()?.login)),
    times("change", |report| Some(&report.turnover.as_ref()?.change)),
];

const QUANTILES: &[Quantile] = &[
    quantile("p50", |times| whole(times.p50_us)),
    quantile("p90", |times| whole(times.p90_us)),
    quantile("p99", |times| whole(times.p99_us)),
    quantile("p99.9", |times| whole(times.p99_9_us)),
    quantile("mean", |times| times.mean_us),
    quantile("max", |times| whole(times.max_us)),
];

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(single) = SINGLES.iter().find(|single| single.name == name) {
            return Ok(Self::Single(single));
        }
        let quantile = |name: &str| QUANTILES.iter().find(|quantile| quantile.name == name);
        DISTRIBUTIONS
            .iter()
            .find_map(|times| {
                let rest = match times.name {
                    "" => name,
                    prefix => name.strip_prefix(prefix)?.strip_prefix('.')?,
                };
                Some(Self::Quantile(times, quantile(rest)?))
            })
            .ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> String {
    let list = |names: Vec<&str>| names.join(", ");
    let times = DISTRIBUTIONS.iter().map(|times| times.name);
    format!(
        "{name:?} is no figure; it is one of {}, or {} of all deliveries, or as in handshake.p99 of one of {}",
        list(SINGLES.iter().map(|single| single.name).collect()),
        list(QUANTILES.iter().map(|quantile| quantile.name).collect()),
        list(times.filter(|name| !name.is_empty()).collect()),
    )
}

impl Figure {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Single(single) => single.name.to_owned(),
            Self::Quantile(times, quantile) => format!("{}.{}", times.name, quantile.name),
        }
    }

    pub(super) fn unit(&self) -> Unit {
        match self {
            Self::Single(single) => match single.source {
                Source::Count(_) | Source::PerSecond(_) => Unit::Plain,
                Source::Seconds(_) => Unit::Time,
                Source::Bytes(_) => Unit::Bytes,
            },
            Self::Quantile(..) => Unit::Time,
        }
    }

    /// Its value, if the run has one: nothing is known of the times of what never happened.
    pub(super) fn of(&self, report: &Report) -> Option<f64> {
        match self {
            Self::Single(single) => match single.source {
                Source::Count(of) => of(report).map(whole),
                Source::PerSecond(of) | Source::Bytes(of) => of(report),
                Source::Seconds(of) => of(report).map(|seconds| seconds * 1e6),
            },
            Self::Quantile(times, quantile) => (times.of)(report)
                .filter(|times| times.count > 0)
                .map(quantile.of),
        }
    }
}

impl Unit {
    /// The names of multiples, each with its size.
    fn multiples(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Plain => &[("", 1.0)],
            Self::Time => &[
                ("us", 1.0),
                ("ms", 1e3),
                ("s", 1e6),
                ("m", 60e6),
                ("h", 3600e6),
            ],
            Self::Bytes => &BYTE_UNITS,
        }
    }

    pub(super) fn parse(self, text: &str) -> Result<f64, String> {
        let number = |text: &str| {
            let number: f64 = text.trim().parse().ok()?;
            number.is_finite().then_some(number)
        };
        if self == Self::Plain {
            return number(text).ok_or_else(|| format!("{text:?} is not a number"));
        }
        // Nothing is nothing in every unit.
        if number(text) == Some(0.0) {
            return Ok(0.0);
        }
        self.multiples()
            .iter()
            .find_map(|(unit, size)| Some(number(text.strip_suffix(unit)?)? * size))
            .ok_or_else(|| {
                let units = self.multiples().iter().map(|(unit, _)| *unit);
                let units = units.collect::<Vec<_>>().join(", ");
                format!("{text:?} needs a unit: {units}")
            })
    }

    pub(super) fn format(self, value: f64) -> String {
        let (unit, size) = match self {
            Self::Plain => ("", 1.0),
            Self::Time if value >= 1e6 => ("s", 1e6),
            Self::Time if value >= 1e3 => ("ms", 1e3),
            Self::Time => ("us", 1.0),
            Self::Bytes if value.abs() >= 1024.0 * 1024.0 => ("MiB", 1024.0 * 1024.0),
            Self::Bytes if value.abs() >= 1024.0 => ("KiB", 1024.0),
            Self::Bytes => ("B", 1.0),
        };
        let number = format!("{:.3}", value / size);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        format!("{number}{unit}")
    }
}

const fn count(name: &'static str, of: fn(&Report) -> Option<u64>) -> Single {
    Single {
        name,
        source: Source::Count(of),
    }
}

const fn per_second(name: &'static str, of: fn(&Report) -> Option<f64>) -> Single {
    Single {
        name,
        source: Source::PerSecond(of),
    }
}

const fn seconds(name: &'static str, of: fn(&Report) -> Option<f64>) -> Single {
    Single {
        name,
        source: Source::Seconds(of),
    }
}

const fn bytes(name: &'static str, of: fn(&Report) -> Option<f64>) -> Single {
    Single {
        name,
        source: Source::Bytes(of),
    }
}

const fn times(name: &'static str, of: fn(&Report) -> Option<&Summary>) -> Distribution {
    Distribution { name, of }
}

const fn quantile(name: &'static str, of: fn(&Summary) -> f64) -> Quantile {
    Quantile { name, of }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; exact below 2^52"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_do() {
        for (unit, value, text) in [
            (Unit::Plain, 3.0, "3"),
            (Unit::Plain, 1234.5, "1234.5"),
            (Unit::Time, 61_200.0, "61.2ms"),
            (Unit::Time, 999.0, "999us"),
            (Unit::Time, 2_500_000.0, "2.5s"),
            (Unit::Bytes, -1536.0, "-1.5KiB"),
            (Unit::Bytes, 20.0, "20B"),
        ] {
            assert_eq!(unit.format(value), text);
        }
    }

    fn names() -> Vec<&'static str> {
        let singles = SINGLES.iter().map(|single| single.name);
        let distributions = DISTRIBUTIONS.iter().map(|times| times.name);
        let quantiles = QUANTILES.iter().map(|quantile| quantile.name);
        singles.chain(distributions).chain(quantiles).collect()
    }

    #[test]
    fn every_name_is_explained() {
        let document = include_str!("../../../docs/stress.md");
        for name in names().iter().filter(|name| !name.is_empty()) {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn every_name_is_its_own() {
        let mut names = names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
