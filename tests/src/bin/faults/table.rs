//! The result as text.

use std::fmt::Write as _;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::scenario::Run;

const COLUMNS: [&str; 15] = [
    "fault",
    "pushes",
    "refused",
    "unknown",
    "offline",
    "though connected",
    "receivers",
    "delivered",
    "away",
    "expired/dropped",
    "unaccounted",
    "again",
    "misordered",
    "connects",
    "seconds",
];

/// One line for each fault; `receivers = delivered + away + expired/dropped +
/// unaccounted`.
pub(crate) fn render(runs: &[Run]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(COLUMNS);
    for run in runs {
        let account = &run.account;
        let mut row = vec![run.scenario.name().to_owned()];
        row.extend(
            [
                account.pushes,
                account.refused,
                account.unknown,
                account.offline,
                account.offline_connected,
                account.accepted,
                account.delivered,
                account.away,
                account.explained,
                account.unaccounted,
                account.duplicates,
                account.misordered,
            ]
            .map(|count| count.to_string()),
        );
        row.push(format!("{:.1} %", run.connect_rate * 100.0));
        row.push(format!("{:.0}", run.seconds));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.to_string();
    for run in runs {
        let counted: Vec<_> = run
            .account
            .counted
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !counted.is_empty() {
            let (name, counted) = (run.scenario.name(), counted.join(", "));
            let _ = write!(text, "\n{name}: {counted}");
        }
    }
    text
}
