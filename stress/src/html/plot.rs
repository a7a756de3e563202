//! Lines over time or over parts of all, drawn by a library.

use std::fmt::Write as _;

use anyhow::Context;
use charts_rs::{AxisScale, Color, LineChart, Series, Symbol};

/// What one plot shows.
pub(super) struct Plot<'a> {
    /// For those who cannot see it.
    pub(super) label: &'a str,
    pub(super) x_title: &'a str,
    pub(super) y_title: &'a str,
    /// Whether ten times as much is one step higher.
    pub(super) logarithmic: bool,
    /// The names of the places on the x axis; without them x is a number.
    pub(super) places: Vec<String>,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<Mark>,
}

/// A point of a line, or a gap in it.
pub(super) type Mark = (f64, Option<f64>);

const WIDTH: f32 = 760.0;
const HEIGHT: f32 = 280.0;
const DOT_RADIUS: f32 = 2.5;
/// Above so many points no figure is put behind each: the page would become too large.
const LABELLED_MAX: usize = 250;

/// A colour in light and in dark surroundings. The library writes the light one into the drawing.
struct Shade {
    light: &'static str,
    dark: &'static str,
}

/// Told apart also by those who do not see all colours.
const LINES: [Shade; 4] = [
    shade("#2A78D6", "#3987E5"),
    shade("#EB6834", "#D95926"),
    shade("#178F66", "#199E70"),
    shade("#4A3AA7", "#9085E9"),
];
const TEXT: Shade = shade("#52514E", "#C3C2B7");
const GRID: Shade = shade("#E1E0D9", "#2C2C2A");
const SURFACE: Shade = shade("#FCFCFB", "#1A1A19");

const fn shade(light: &'static str, dark: &'static str) -> Shade {
    Shade { light, dark }
}

/// The style that recolours all drawings of a page: a rule wins over what an element says of itself.
pub(super) fn style() -> String {
    let mut rules = String::new();
    for Shade { light, dark } in LINES.iter().chain([&TEXT, &GRID, &SURFACE]) {
        for property in ["fill", "stroke"] {
            // Writing to a string cannot fail.
            let _ = writeln!(
                rules,
                "  figure svg [{property}=\"{light}\"] {{ {property}: {dark}; }}"
            );
        }
    }
    format!("@media (prefers-color-scheme: dark) {{\n{rules}}}\n")
}

impl Plot<'_> {
    /// The drawing, as part of a page.
    pub(super) fn svg(self) -> anyhow::Result<String> {
        let label = self.label.to_owned();
        let points = self
            .lines
            .iter()
            .map(|line| line.points.len())
            .sum::<usize>();
        let numbered = self.places.is_empty();
        let decades = decades(&self.lines);
        let lines = self.lines.iter();
        let lines = lines.map(|line| series(line, numbered)).collect();
        let mut chart = LineChart::new(lines, self.places);
        chart.width = WIDTH;
        chart.height = HEIGHT;
        chart.background_color = SURFACE.light.into();
        "system-ui, sans-serif".clone_into(&mut chart.font_family);
        chart.series.colors = LINES.iter().map(|shade| Color::from(shade.light)).collect();
        chart.series.symbol = Some(Symbol::None);
        chart.series.label.font.color = TEXT.light.into();
        chart.legend.font.color = TEXT.light.into();
        chart.grid.stroke_color = GRID.light.into();
        self.x_title.clone_into(&mut chart.x_axis.title);
        chart.x_axis.font.color = TEXT.light.into();
        chart.x_axis.stroke_color = TEXT.light.into();
        // A figure that shows when the mouse is over its point.
        chart.tooltip.show = points <= LABELLED_MAX * LINES.len();
        if let Some(axis) = chart.y_axis_configs.first_mut() {
            axis.title = Some(self.y_title.to_owned());
            axis.font.color = TEXT.light.into();
            axis.stroke_color = TEXT.light.into();
            if self.logarithmic {
                axis.scale = AxisScale::Log(10.0);
                // The library spreads the labels evenly, which is right if every decade has one.
                axis.split_number = decades;
            } else {
                axis.min = Some(0.0);
            }
        }
        let svg = chart.svg().context("draw a plot")?;
        let opening = format!("<svg role=\"img\" aria-label=\"{label}\" ");
        Ok(svg.replacen("<svg ", &opening, 1))
    }
}

/// How many tenfold steps the library has on a logarithmic axis, which begins and ends with a power of ten. In its own
/// precision: next to a power of ten another one may find another step.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "there are less than forty"
)]
fn decades(lines: &[Line]) -> usize {
    let points = lines.iter().flat_map(|line| &line.points);
    let powers = points.filter_map(|(_, y)| Some((*y)? as f32).filter(|y| *y > 0.0));
    let powers: Vec<f32> = powers.map(|y| y.log(10.0)).collect();
    let least = powers.iter().copied().fold(f32::MAX, f32::min).floor();
    let most = powers.iter().copied().fold(f32::MIN, f32::max).ceil();
    (most - least).max(1.0) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a drawing has a few hundred steps of height"
)]
fn series(line: &Line, numbered: bool) -> Series {
    let values = line.points.iter().map(|(_, y)| y.map(|y| y as f32));
    let mut series = Series::new_nullable(line.name.to_owned(), values.collect());
    series.x_values = numbered.then(|| line.points.iter().map(|(x, _)| *x).collect());
    if line.has_lonely_point() {
        series.symbol = Some(Symbol::Circle(DOT_RADIUS, None));
    }
    series
}

impl Line {
    /// Whether a point stands between two gaps, where no line leads to it.
    fn has_lonely_point(&self) -> bool {
        let is_gap = |place: Option<usize>| {
            let point = place.and_then(|place| self.points.get(place));
            point.is_none_or(|(_, y)| y.is_none())
        };
        (0..self.points.len()).any(|place| {
            let neighbours = [place.checked_sub(1), Some(place + 1)];
            !is_gap(Some(place)) && neighbours.into_iter().all(is_gap)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_to_which_no_line_leads_are_drawn_as_dots() {
        let dots = |points: &[Option<f64>]| {
            let points = (0_u32..).zip(points).map(|(x, y)| (f64::from(x), *y));
            let points = points.collect();
            let name = "line";
            Line { name, points }.has_lonely_point()
        };
        assert!(!dots(&[
            None,
            Some(1.0),
            Some(2.0),
            None,
            Some(1.0),
            Some(2.0)
        ]));
        assert!(dots(&[Some(1.0), None, Some(1.0), Some(2.0)]));
        assert!(dots(&[Some(1.0), Some(2.0), None, Some(1.0), None]));
        assert!(!dots(&[None, None]));
    }

    #[test]
    fn a_logarithmic_axis_names_every_decade() {
        let points = [1.0, 2_345.0, 12_345_678.0].map(Some);
        let points = (0_u32..).zip(points).map(|(x, y)| (f64::from(x), y));
        let lines = vec![Line {
            name: "line",
            points: points.collect(),
        }];
        let plot = Plot {
            label: "label",
            x_title: "x",
            y_title: "y",
            logarithmic: true,
            places: Vec::new(),
            lines,
        };
        let svg = plot.svg().unwrap();
        let labels = ["1", "10", "100", "1k", "10k", "100k", "1M", "10M", "100M"];
        for label in labels {
            let text = svg
                .split('<')
                .any(|tag| tag.ends_with(&format!(">\n{label}\n")));
            assert!(text, "{label} in {svg}");
        }
    }
}
