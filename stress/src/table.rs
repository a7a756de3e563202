//! The report for people: what was counted, and what was timed.

mod rows;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

pub(crate) use self::rows::{Row, rows, times};
use crate::report::Report;

/// The heads of the columns of [`cells`].
pub(crate) const TIMES_HEAD: [&str; 7] = ["ms", "count", "p50", "p90", "p99", "p99.9", "max"];

/// The report as text without a line break at its end.
pub(crate) fn render(report: &Report) -> String {
    let mut counts = new_table();
    for Row { name, value } in rows(report) {
        counts.add_row([name, value]);
    }
    let mut distributions = new_table();
    distributions.set_header(TIMES_HEAD);
    for column in distributions.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in cells(report) {
        distributions.add_row(row);
    }
    format!(
        "halley stress {} (run {})\n{counts}\n{distributions}\n{}",
        report.scenario,
        report.run,
        verdict(report)
    )
}

/// How the run went, in a line.
pub(crate) fn verdict(report: &Report) -> String {
    match (report.ok, report.interrupted) {
        (true, false) => "ok".to_owned(),
        (true, true) => "ok, interrupted".to_owned(),
        (false, _) => format!("FAILED: {}", report.problems.join("; ")),
    }
}

/// The distributions, in milliseconds.
pub(crate) fn cells(report: &Report) -> impl Iterator<Item = [String; 7]> {
    times(report).into_iter().map(|(name, times)| {
        let ms = |us: u64| format!("{}.{:03}", us / 1000, us % 1000);
        [
            name,
            times.count.to_string(),
            ms(times.p50_us),
            ms(times.p90_us),
            ms(times.p99_us),
            ms(times.p99_9_us),
            ms(times.max_us),
        ]
    })
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table
}
