//! The figures of a report with their names.

use std::collections::BTreeMap;

use crate::latency::Summary;
use crate::report::{
    ChurnReport, Deliveries, Growth, Memory, Pushes, Report, RoomsReport, SlowReport, StormReport,
    TurnoverReport,
};

/// Single rooms that are worth a line.
const ROOMS_SHOWN: usize = 3;
/// Kinds of the kernel's objects that are worth a word.
const CACHES_SHOWN: usize = 8;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// One line.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Default)]
struct Rows(Vec<Row>);

/// Everything that was counted and measured, but the times.
pub(crate) fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Rows::default();
    rows.connections(report);
    if let Some(found) = &report.pushes {
        rows.pushes(found);
    }
    if let Some(found) = &report.deliveries {
        rows.deliveries(found);
    }
    if let Some(found) = &report.rooms {
        rows.rooms(found);
    }
    if let Some(found) = &report.turnover {
        rows.turnover(found);
    }
    if let Some(found) = &report.slow {
        rows.slow(found);
    }
    for (place, found) in (1..).zip(&report.storms) {
        rows.storm(place, found);
    }
    if let Some(found) = &report.churn {
        rows.churn(found);
    }
    rows.server(report);
    if let Some(found) = &report.memory {
        rows.memory(found);
    }
    if let Some(found) = &report.growth {
        rows.growth(found);
    }
    rows.tool(report);
    for judged in &report.expectations {
        let actual = judged.actual.as_deref().unwrap_or("unknown");
        let met = if judged.met { "met" } else { "NOT met" };
        rows.add(
            "expectation",
            format!("{}: {actual}, {met}", judged.expected),
        );
    }
    rows.0
}

/// All distributions that have something in them, with their names.
pub(crate) fn times(report: &Report) -> Vec<(String, &Summary)> {
    let mut all = vec![
        ("handshake".to_owned(), &report.connections.handshake),
        ("heartbeat".to_owned(), &report.heartbeats.round_trip),
    ];
    let mut add = |name: &str, times| all.push((name.to_owned(), times));
    if let Some(pushes) = &report.pushes {
        add("push lag", &pushes.lag);
        add("push answer", &pushes.answer);
    }
    if let Some(deliveries) = &report.deliveries {
        add("delivery", &deliveries.latency);
    }
    if let Some(slow) = &report.slow {
        add("delivery, slow readers", &slow.latency);
    }
    if let Some(turnover) = &report.turnover {
        add("handshake, later", &turnover.handshake);
        add("room change", &turnover.change);
    }
    for (place, storm) in (1..).zip(&report.storms) {
        add(&format!("storm {place}: back"), &storm.recovery);
        add(&format!("storm {place}: handshake"), &storm.handshake);
        add(
            &format!("storm {place}: heartbeat before"),
            &storm.heartbeat_calm,
        );
        add(
            &format!("storm {place}: heartbeat during"),
            &storm.heartbeat_storm,
        );
    }
    if let Some(churn) = &report.churn {
        add("login", &churn.login);
    }
    all.retain(|(_, times)| times.count > 0);
    all
}

impl Rows {
    fn add(&mut self, name: impl Into<String>, value: String) {
        self.0.push(Row {
            name: name.into(),
            value,
        });
    }

    fn counts(&mut self, name: &str, counts: &BTreeMap<String, u64>) {
        if !counts.is_empty() {
            self.add(name, listed(counts));
        }
    }

    fn connections(&mut self, report: &Report) {
        let found = &report.connections;
        let text = format!("{} of {} ({})", found.ready, found.wanted, found.transport);
        self.add("connections", text);
        let rate = format!("{:.0}/s over {:.2} s", found.per_second, found.seconds);
        self.add("connect rate", rate);
        self.counts("connect failures", &found.failures);
        self.counts("disconnects", &found.disconnects);
        if found.goodbyes > 0 {
            self.add("goodbyes", found.goodbyes.to_string());
        }
        let beats = &report.heartbeats;
        let text = format!("{} of {} answered", beats.answered, beats.sent);
        self.add("heartbeats", text);
        if beats.abandoned > 0 {
            self.add("abandoned heartbeats", beats.abandoned.to_string());
        }
        if beats.lost > 0 {
            self.add("heartbeats of lost connections", beats.lost.to_string());
        }
    }

    fn pushes(&mut self, found: &Pushes) {
        let text = format!(
            "{} of {} sent, {:.1}/s over {:.2} s, {} bytes each",
            found.sent, found.planned, found.per_second, found.seconds, found.size_bytes
        );
        self.add("pushes", text);
        self.add("accepted", found.accepted.to_string());
        self.counts("refused", &found.refused);
        self.counts("push errors", &found.errors);
    }

    fn deliveries(&mut self, found: &Deliveries) {
        let verdict = &found.verdict;
        self.add("expected", verdict.expected.to_string());
        let text = format!("{} ({:.0}/s)", verdict.received, found.per_second);
        self.add("received", text);
        let text = format!("{} (by {} members)", verdict.lost, found.members_with_loss);
        self.add("lost", text);
        self.add("duplicated", verdict.duplicated.to_string());
        self.add("reordered", verdict.reordered.to_string());
        for (name, count) in [
            ("racing", verdict.racing),
            ("unexpected", verdict.unexpected),
            ("misrouted", found.misrouted),
            ("corrupt", found.corrupt),
            ("foreign", found.foreign),
        ] {
            if count > 0 {
                self.add(name, count.to_string());
            }
        }
    }

    fn rooms(&mut self, found: &RoomsReport) {
        let text = format!(
            "{}, exponent {}; {} with loss",
            found.count, found.exponent, found.with_loss
        );
        self.add("rooms", text);
        for room in found.largest.iter().take(ROOMS_SHOWN) {
            let members = room.members.map(|count| format!("{count} members, "));
            let text = format!(
                "{}{} pushes, {} of {} received",
                members.unwrap_or_default(),
                room.pushes,
                room.verdict.received,
                room.verdict.expected
            );
            self.add(format!("room {}", room.room), text);
        }
    }

    fn turnover(&mut self, found: &TurnoverReport) {
        let text = format!(
            "{} connects, {} disconnects",
            found.connects, found.disconnects
        );
        self.add("turnover", text);
        self.counts("later connect failures", &found.connect_failures);
        let text = format!(
            "{} of {} answered, {} cut off",
            found.changes_answered, found.changes_sent, found.changes_abandoned
        );
        self.add("room changes", text);
        if found.skipped > 0 {
            let text = format!("{} times nobody was fit", found.skipped);
            self.add("skipped", text);
        }
    }

    fn slow(&mut self, found: &SlowReport) {
        let verdict = &found.verdict;
        let text = format!(
            "{}; {} of {} received, {} lost",
            found.members, verdict.received, verdict.expected, verdict.lost
        );
        self.add("slow readers", text);
        self.counts("slow disconnects", &found.disconnects);
    }

    fn storm(&mut self, place: usize, found: &StormReport) {
        let after = found
            .seconds
            .map(|seconds| format!(" after {seconds:.3} s"));
        let text = format!(
            "{} of {} back{}",
            found.ready,
            found.dropped,
            after.unwrap_or_default()
        );
        self.add(format!("storm {place}"), text);
        self.counts("refused tries", &found.refused);
    }

    fn churn(&mut self, found: &ChurnReport) {
        let text = format!(
            "{} over {:.2} s, {:.0}/s",
            found.connects, found.seconds, found.per_second
        );
        self.add("logins", text);
        self.counts("login failures", &found.failures);
        if let Some(us) = found.cpu_us_per_connect {
            self.add("server CPU per login", format!("{us:.1} us"));
        }
    }

    fn server(&mut self, report: &Report) {
        let server = &report.server;
        let readings = (server.rss_before_bytes, server.rss_connected_bytes);
        if let (Some(before), Some(connected)) = readings {
            let end = server.rss_end_bytes.unwrap_or(connected);
            let text = format!(
                "{} -> {} -> {} KiB",
                before / 1024,
                connected / 1024,
                end / 1024
            );
            self.add("server memory", text);
        }
        if let Some(bytes) = server.bytes_per_connection {
            let end = server.bytes_per_connection_end.unwrap_or(bytes);
            let text = format!("{bytes:.0}, at the end {end:.0}");
            self.add("server bytes per connection", text);
        }
        if let Some(seconds) = server.cpu_seconds {
            let per_million = server.cpu_seconds_per_million;
            let per_million =
                per_million.map(|cost| format!(", {cost:.2} s per million deliveries"));
            let text = format!("{seconds:.2} s{}", per_million.unwrap_or_default());
            self.add("server CPU", text);
        }
        if server.processes.len() > 1 {
            for process in &server.processes {
                let text = format!(
                    "{:.2} s, {} KiB at the end",
                    process.cpu_seconds,
                    process.rss_end_bytes / 1024
                );
                self.add(format!("{} {}", process.name, process.pid), text);
            }
        }
    }

    fn memory(&mut self, found: &Memory) {
        let bytes = |bytes: Option<f64>| match bytes {
            Some(bytes) => format!("{bytes:.0} bytes"),
            None => "unknown: the server is elsewhere".to_owned(),
        };
        self.add("a connection: process", bytes(found.process_bytes));
        let kernel = if found.ends == 2 {
            format!(
                "{:.0} bytes, half of the {:.0} of both ends",
                found.kernel_bytes_per_end, found.kernel_bytes
            )
        } else {
            format!("{:.0} bytes, at the tool's end", found.kernel_bytes_per_end)
        };
        self.add("a connection: kernel", kernel);
        self.add("a connection: together", bytes(found.bytes));
        let caches: Vec<String> = found
            .caches
            .iter()
            .take(CACHES_SHOWN)
            .map(|cache| format!("{} {:.0}", cache.name, cache.bytes))
            .collect();
        if !caches.is_empty() {
            self.add("kernel objects", caches.join(", "));
        }
        let waiting = format!("{:.0} bytes", found.buffer_bytes);
        self.add("kernel, waiting in sockets", waiting);
    }

    fn growth(&mut self, found: &Growth) {
        let text = match (found.bytes_per_hour, found.files_per_hour) {
            (Some(bytes), Some(files)) => {
                let allowed = found
                    .bytes_per_hour_max
                    .map(|bytes| format!(" ({:.1} allowed)", bytes / MEBIBYTE));
                format!(
                    "{:.2} MiB per hour{}, {files:.1} files per hour, over {:.0} s",
                    bytes / MEBIBYTE,
                    allowed.unwrap_or_else(|| " (not judged)".to_owned()),
                    found.seconds
                )
            }
            _ => "unknown".to_owned(),
        };
        self.add("server growth", text);
    }

    fn tool(&mut self, report: &Report) {
        let tool = &report.tool;
        if let Some(ns) = tool.receive_cpu_ns_per_delivery {
            let per_read = tool.deliveries_per_read.unwrap_or_default();
            let text = format!("{ns:.0} ns, {per_read:.1} deliveries per read");
            self.add("tool CPU per delivery", text);
        }
        if let Some(us) = tool.push_cpu_us_per_push {
            self.add("tool CPU per push", format!("{us:.1} us"));
        }
    }
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    parts.join(", ")
}
