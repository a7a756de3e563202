//! The report for people.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::latency::Summary;
use crate::report::{Deliveries, Pushes, Report};

/// The report as text without a line break at its end.
pub(crate) fn render(report: &Report) -> String {
    let mut counts = new_table(&["", ""]);
    connections(&mut counts, report);
    if let Some(found) = &report.pushes {
        pushes(&mut counts, found);
    }
    if let Some(found) = &report.deliveries {
        deliveries(&mut counts, found);
    }
    resources(&mut counts, report);
    let verdict = match (report.ok, report.interrupted) {
        (true, false) => "ok".to_owned(),
        (true, true) => "ok, interrupted".to_owned(),
        (false, _) => format!("FAILED: {}", report.problems.join(", ")),
    };
    format!(
        "halley stress {} (run {})\n{counts}\n{}\n{verdict}",
        report.scenario,
        report.run,
        times(report)
    )
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    if header.iter().any(|title| !title.is_empty()) {
        table.set_header(header);
    }
    table
}

fn connections(table: &mut Table, report: &Report) {
    let found = &report.connections;
    row(
        table,
        "connections",
        format!("{} of {} ({})", found.ready, found.wanted, found.transport),
    );
    row(
        table,
        "connect rate",
        format!("{:.0}/s over {:.2} s", found.per_second, found.seconds),
    );
    row_of_counts(table, "connect failures", &found.failures);
    row_of_counts(table, "disconnects", &found.disconnects);
    if found.goodbyes > 0 {
        row(table, "goodbyes", found.goodbyes.to_string());
    }
    let beats = &report.heartbeats;
    row(
        table,
        "heartbeats",
        format!("{} of {} answered", beats.answered, beats.sent),
    );
}

fn pushes(table: &mut Table, found: &Pushes) {
    let text = format!(
        "{} of {} sent, {:.1}/s over {:.2} s, {} bytes each",
        found.sent, found.planned, found.per_second, found.seconds, found.size_bytes
    );
    row(table, "pushes", text);
    row(table, "accepted", found.accepted.to_string());
    row_of_counts(table, "refused", &found.refused);
    row_of_counts(table, "push errors", &found.errors);
}

fn deliveries(table: &mut Table, found: &Deliveries) {
    let verdict = &found.verdict;
    row(table, "expected", verdict.expected.to_string());
    row(
        table,
        "received",
        format!("{} ({:.0}/s)", verdict.received, found.per_second),
    );
    row(
        table,
        "lost",
        format!("{} (by {} members)", verdict.lost, found.members_with_loss),
    );
    row(table, "duplicated", verdict.duplicated.to_string());
    row(table, "reordered", verdict.reordered.to_string());
    for (name, count) in [
        ("unexpected", verdict.unexpected),
        ("misrouted", found.misrouted),
        ("corrupt", found.corrupt),
        ("foreign", found.foreign),
    ] {
        if count > 0 {
            row(table, name, count.to_string());
        }
    }
}

fn resources(table: &mut Table, report: &Report) {
    let server = &report.server;
    if let (Some(before), Some(connected)) = (server.rss_before_bytes, server.rss_connected_bytes) {
        let end = server.rss_end_bytes.unwrap_or(connected);
        let text = format!(
            "{} -> {} -> {} KiB",
            before / 1024,
            connected / 1024,
            end / 1024
        );
        row(table, "server memory", text);
    }
    if let Some(bytes) = server.bytes_per_connection {
        let end = server.bytes_per_connection_end.unwrap_or(bytes);
        row(
            table,
            "server bytes per connection",
            format!("{bytes:.0}, at the end {end:.0}"),
        );
    }
    if let Some(seconds) = server.cpu_seconds {
        let per_million = server.cpu_seconds_per_million;
        let per_million = per_million.map(|cost| format!(", {cost:.2} s per million deliveries"));
        row(
            table,
            "server CPU",
            format!("{seconds:.2} s{}", per_million.unwrap_or_default()),
        );
    }
    let tool = &report.tool;
    if let Some(ns) = tool.receive_cpu_ns_per_delivery {
        let per_read = tool.deliveries_per_read.unwrap_or_default();
        row(
            table,
            "tool CPU per delivery",
            format!("{ns:.0} ns, {per_read:.1} deliveries per read"),
        );
    }
    if let Some(us) = tool.push_cpu_us_per_push {
        row(table, "tool CPU per push", format!("{us:.1} us"));
    }
}

/// The distributions, in milliseconds.
fn times(report: &Report) -> Table {
    let mut table = new_table(&["ms", "count", "p50", "p90", "p99", "p99.9", "max"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut add = |name: &str, times: &Summary| {
        if times.count > 0 {
            let mut cells = vec![name.to_owned(), times.count.to_string()];
            let figures = [
                times.p50_us,
                times.p90_us,
                times.p99_us,
                times.p99_9_us,
                times.max_us,
            ];
            cells.extend(figures.map(|us| format!("{}.{:03}", us / 1000, us % 1000)));
            table.add_row(cells);
        }
    };
    add("handshake", &report.connections.handshake);
    add("heartbeat", &report.heartbeats.round_trip);
    if let Some(pushes) = &report.pushes {
        add("push lag", &pushes.lag);
        add("push answer", &pushes.answer);
    }
    if let Some(deliveries) = &report.deliveries {
        add("delivery", &deliveries.latency);
    }
    table
}

fn row(table: &mut Table, name: &str, value: String) {
    table.add_row([name.to_owned(), value]);
}

fn row_of_counts(table: &mut Table, name: &str, counts: &BTreeMap<String, u64>) {
    if !counts.is_empty() {
        let parts: Vec<String> = counts
            .iter()
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        row(table, name, parts.join(", "));
    }
}
