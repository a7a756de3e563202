//! Which plots a report has.

use super::plot::{Line, Mark, Plot};
use crate::latency::Coarse;
use crate::messages::Times;
use crate::series::{Point, Sample, Series};

/// A plot with its title.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) svg: String,
}

/// Parts of all, as they are written on the axis: each step to the right leaves fewer.
const QUANTILES: [(&str, f64); 10] = [
    ("25 %", 0.25),
    ("50 %", 0.5),
    ("75 %", 0.75),
    ("90 %", 0.9),
    ("95 %", 0.95),
    ("99 %", 0.99),
    ("99.5 %", 0.995),
    ("99.9 %", 0.999),
    ("99.99 %", 0.9999),
    ("100 %", 1.0),
];

/// One of the things that are timed.
type Of = fn(&Times<Coarse>) -> &Coarse;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// All plots for which there is something to show.
pub(super) fn charts(series: &Series) -> anyhow::Result<Vec<Chart>> {
    let times: [(_, _, Of); 3] = [
        ("delivery", "Delivery latency over time", |times| {
            &times.delivery
        }),
        ("heartbeat", "Heartbeat round trips over time", |times| {
            &times.heartbeat
        }),
        ("handshake", "Handshakes over time", |times| {
            &times.handshake
        }),
    ];
    let mut drafts: Vec<(&'static str, &'static str, Plot<'_>)> = times
        .into_iter()
        .map(|(id, title, of)| (id, title, latency(series, title, of)))
        .collect();
    drafts.extend([
        ("percentiles", "Percentiles", percentiles(series)),
        ("throughput", "Throughput", throughput(series)),
        ("connections", "Connections", connections(series)),
        ("memory", "Memory of the server", memory(series)),
        ("cpu", "CPU of the server", cpu(series)),
        ("files", "Open files of the server", files(series)),
    ]);
    drafts
        .into_iter()
        .filter(|(_, _, plot)| plot.lines.iter().any(Line::is_visible))
        .map(|(id, title, plot)| {
            let svg = plot.svg()?;
            Ok(Chart { id, title, svg })
        })
        .collect()
}

impl Line {
    /// A line needs two points.
    fn is_visible(&self) -> bool {
        self.points.iter().filter(|(_, y)| y.is_some()).count() > 1
    }
}

/// Middle, tail and extreme of a time.
fn latency(series: &Series, label: &'static str, of: Of) -> Plot<'static> {
    let line = |name, quantile| Line {
        name,
        points: over_time(series, |point| microseconds(of(&point.times), quantile)),
    };
    Plot {
        logarithmic: true,
        lines: vec![line("p50", 0.5), line("p99", 0.99), line("max", 1.0)],
        ..timeline(label, "microseconds")
    }
}

fn percentiles(series: &Series) -> Plot<'static> {
    let mut all = Times::<Coarse>::default();
    for (_, point) in series.points() {
        all.merge(&point.times);
    }
    let line = |name, times: &Coarse| Line {
        name,
        points: (0_u32..)
            .zip(QUANTILES)
            .map(|(place, (_, quantile))| (f64::from(place), microseconds(times, quantile)))
            .collect(),
    };
    Plot {
        label: "Percentiles of all times",
        x_title: "of all took at most",
        y_title: "microseconds",
        logarithmic: true,
        places: QUANTILES.map(|(name, _)| name.to_owned()).to_vec(),
        lines: [
            line("delivery", &all.delivery),
            line("heartbeat", &all.heartbeat),
            line("handshake", &all.handshake),
        ]
        .into_iter()
        .filter(Line::is_visible)
        .collect(),
    }
}

fn throughput(series: &Series) -> Plot<'static> {
    let width = series.point_seconds();
    let rate = |name, of: Of| {
        let mut points = over_time(series, |point| {
            let count = of(&point.times).count();
            (count > 0).then(|| as_f64(count) / width)
        });
        // The run ended somewhere within the last one.
        points.pop();
        Line { name, points }
    };
    let pushes = Line {
        name: "pushes",
        points: growth(series, |sample| Some(sample.pushes))
            .into_iter()
            // Nothing has no place on a logarithmic axis.
            .map(|(at, rate)| (at, rate.filter(|rate| *rate > 0.0)))
            .collect(),
    };
    Plot {
        logarithmic: true,
        lines: [
            rate("deliveries", |times| &times.delivery),
            pushes,
            rate("logins", |times| &times.handshake),
            rate("heartbeats", |times| &times.heartbeat),
        ]
        .into_iter()
        .filter(Line::is_visible)
        .collect(),
        ..timeline("Throughput over time", "per second")
    }
}

fn connections(series: &Series) -> Plot<'static> {
    Plot {
        lines: vec![sampled(
            series,
            "connections",
            |sample| Some(sample.open),
            1.0,
        )],
        ..timeline("Connections over time", "connections")
    }
}

fn memory(series: &Series) -> Plot<'static> {
    let bytes = |sample: &Sample| Some(sample.usage?.rss_bytes);
    Plot {
        lines: vec![sampled(series, "resident memory", bytes, MEBIBYTE)],
        ..timeline("Memory of the server over time", "MiB")
    }
}

fn cpu(series: &Series) -> Plot<'static> {
    let cores = growth(series, |sample| Some(sample.usage?.cpu_ms));
    Plot {
        lines: vec![Line {
            name: "CPU",
            points: cores
                .into_iter()
                .map(|(at, rate)| (at, rate.map(|ms| ms / 1e3)))
                .collect(),
        }],
        ..timeline("CPU of the server over time", "cores")
    }
}

fn files(series: &Series) -> Plot<'static> {
    Plot {
        lines: vec![sampled(
            series,
            "open files",
            |sample| Some(sample.usage?.files),
            1.0,
        )],
        ..timeline("Open files of the server over time", "files")
    }
}

fn timeline(label: &'static str, y_title: &'static str) -> Plot<'static> {
    Plot {
        label,
        x_title: "seconds",
        y_title,
        logarithmic: false,
        places: Vec::new(),
        lines: Vec::new(),
    }
}

fn over_time(series: &Series, of: impl Fn(&Point) -> Option<f64>) -> Vec<Mark> {
    series.points().map(|(at, point)| (at, of(point))).collect()
}

fn sampled(series: &Series, name: &'static str, of: fn(&Sample) -> Option<u64>, unit: f64) -> Line {
    Line {
        name,
        points: series
            .samples()
            .map(|(at, sample)| (at, of(sample).map(|value| as_f64(value) / unit)))
            .collect(),
    }
}

/// How fast something grew between every two samples, per second.
fn growth(series: &Series, of: impl Fn(&Sample) -> Option<u64>) -> Vec<Mark> {
    let samples: Vec<(f64, Option<u64>)> = series
        .samples()
        .map(|(at, sample)| (at, of(sample)))
        .collect();
    samples
        .windows(2)
        .filter_map(|pair| {
            let [(from, before), (to, after)] = pair else {
                return None;
            };
            let grown = before.zip(*after).map(|(before, after)| {
                as_f64(after.saturating_sub(before)) / (to - from).max(f64::EPSILON)
            });
            Some((f64::midpoint(*from, *to), grown))
        })
        .collect()
}

/// Not milliseconds: the library writes a tenth at the least next to an axis.
fn microseconds(times: &Coarse, quantile: f64) -> Option<f64> {
    // A logarithmic axis has no place for nothing.
    times.quantile_us(quantile).map(|us| as_f64(us.max(1)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a drawing has a few hundred steps of height"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
