//! Figures: what the runs found, what it should be, and how that is shown.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One figure of one run.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) figure: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) target: Option<Target>,
    /// What the value was made of.
    pub(crate) beside: Vec<(&'static str, f64)>,
}

/// One figure over all runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    min: f64,
    median: f64,
    max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    /// Whether the median is within the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
    /// Medians.
    beside: Vec<(&'static str, f64)>,
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", format_number(most)),
            Self::AtLeast(least) => format!("≥ {}", format_number(least)),
        }
    }
}

/// The figures of the runs, in the order of the first run. A name in another
/// unit is another figure.
pub(crate) fn figures(samples: &[Sample]) -> Vec<Figure> {
    let mut figures: Vec<Vec<&Sample>> = Vec::new();
    for sample in samples {
        match figures.iter_mut().find(|of| of[0].is_one_with(sample)) {
            Some(of) => of.push(sample),
            None => figures.push(vec![sample]),
        }
    }
    figures.iter().filter_map(|of| Figure::of(of)).collect()
}

impl Sample {
    pub(crate) fn without_target(self) -> Self {
        Self {
            target: None,
            ..self
        }
    }

    fn is_one_with(&self, other: &Self) -> bool {
        self.figure == other.figure && self.unit == other.unit
    }
}

impl Figure {
    fn of(samples: &[&Sample]) -> Option<Self> {
        let first = samples.first()?;
        let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        let beside = first.beside.iter().enumerate().map(|(index, (name, _))| {
            let values = samples.iter().map(|sample| sample.beside[index].1);
            (*name, median(values.collect()))
        });
        let median = median(values.clone());
        Some(Self {
            name: first.figure.clone(),
            unit: first.unit,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            median,
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            values,
            target: first.target,
            met: first.target.map(|target| target.is_met(median)),
            beside: beside.collect(),
        })
    }

    fn cells(&self) -> [String; 7] {
        let target = self.target.map(Target::text);
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let beside = self.beside.iter();
        let beside: Vec<_> = beside
            .map(|(name, value)| format!("{name} {}", format_number(*value)))
            .collect();
        [
            format!("{}, {}", self.name, self.unit),
            format_number(self.min),
            format_number(self.median),
            format_number(self.max),
            target.unwrap_or_default(),
            met.to_owned(),
            beside.join(", "),
        ]
    }
}

const HEADER: [&str; 7] = ["figure", "min", "median", "max", "target", "", "made of"];

/// A table for a terminal and for a page.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(HEADER);
    for figure in figures {
        table.add_row(figure.cells());
    }
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The middle one, or the mean of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.is_empty()) {
        (_, true) => f64::NAN,
        (0, false) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Three digits that mean something; whole numbers from a hundred on.
pub(crate) fn format_number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => {
            let digits = format!("{:.0}", value.abs());
            let mut grouped = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            let sign = if value < 0.0 { "-" } else { "" };
            format!("{sign}{grouped}")
        }
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; exact below 2^52"
)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
