//! What is printed.

use std::fmt::Write as _;

use serde_json::Value;

use crate::load::{Found, Growth, ROOMS};
use crate::{FREE_MIN_BYTES, gib};

/// The report, and whether everything is as it should be.
pub(crate) fn report(found: &Found) -> (String, bool) {
    let Found {
        stress,
        standing,
        cpu,
        ..
    } = found;
    let connections = u64::from(found.connections);
    let in_rooms: u64 = standing.rooms.iter().sum();
    let counts_are_right = standing.online == connections
        && in_rooms == connections
        && standing.rooms.len() == ROOMS as usize;
    let is_right = stress["ok"] == true && counts_are_right;

    let mut text = String::new();
    let mut line = |name: &str, value: String| add(&mut text, name, &value);
    let opened = &stress["connections"];
    line(
        "connections",
        format!(
            "{} of {connections} in {} comets, half of them WebSocket; {:.0} per second, with {} worker processes on the same cores",
            opened["ready"],
            found.comets,
            number(&opened["per_second"]),
            standing.worker_count,
        ),
    );
    line(
        "heartbeats",
        format!(
            "{} sent, {} answered; round trip {}",
            stress["heartbeats"]["sent"],
            stress["heartbeats"]["answered"],
            times(&stress["heartbeats"]["round_trip"]),
        ),
    );
    line(
        "online",
        format!(
            "{} in all, {in_rooms} in {} rooms of {} to {}{}",
            standing.online,
            standing.rooms.len(),
            standing.rooms.last().unwrap_or(&0),
            standing.rooms.first().unwrap_or(&0),
            if counts_are_right { "" } else { ": WRONG" },
        ),
    );
    let deliveries = &stress["deliveries"];
    let expected = to_everyone(stress, "expected");
    line(
        "pushes",
        format!(
            "{} accepted, {} of them to everyone",
            stress["pushes"]["accepted"],
            expected / connections.max(1),
        ),
    );
    line(
        "deliveries to everyone",
        format!(
            "{} of {expected}, {connections} for each",
            to_everyone(stress, "received"),
        ),
    );
    line(
        "deliveries in all",
        format!(
            "{} of {}; lost {}, duplicated {}, reordered {}; {:.0} per second",
            deliveries["received"],
            deliveries["expected"],
            deliveries["lost"],
            deliveries["duplicated"],
            deliveries["reordered"],
            number(&deliveries["per_second"]),
        ),
    );
    line("latency", times(&deliveries["latency"]));
    line(
        "server CPU",
        format!(
            "{:.1} s while pushing: comets {:.1}, logic {:.2}, job {:.2}; {:.2} s per million deliveries",
            number(&stress["server"]["cpu_seconds"]),
            cpu.comets,
            cpu.logic,
            cpu.job,
            number(&stress["server"]["cpu_seconds_per_million"]),
        ),
    );
    add_memory(&mut text, found);
    let took = format!("{:.0} s", found.took.as_secs_f64());
    add(&mut text, "took", &took);
    for problem in stress["problems"].as_array().into_iter().flatten() {
        add(&mut text, "problem", &problem.to_string());
    }
    (text, is_right)
}

fn add_memory(text: &mut String, found: &Found) {
    let connections = u64::from(found.connections);
    let standing = &found.standing;
    let mut line = |name: &str, value: String| add(text, name, &value);
    for (name, growth) in [
        ("memory: comets", standing.comets),
        ("memory: logic", standing.logic),
        ("memory: job", standing.job),
        ("memory: kernel objects", standing.slab),
    ] {
        let Growth { before, after } = growth;
        line(
            name,
            format!(
                "{:.2} GiB, from {:.2}; {} bytes per connection",
                gib(after),
                gib(before),
                after.saturating_sub(before) / connections,
            ),
        );
    }
    let workers = standing.workers;
    line(
        "memory: load tool",
        format!(
            "{:.2} GiB, {} bytes per connection",
            gib(workers),
            workers / connections
        ),
    );
    line(
        "memory: free",
        format!(
            "{:.1} GiB at least; ends below {:.0}",
            gib(found.free_min),
            gib(FREE_MIN_BYTES)
        ),
    );
}

fn add(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<24}{value}");
}

/// Deliveries beyond those to the rooms.
fn to_everyone(stress: &Value, field: &str) -> u64 {
    let in_rooms = stress["rooms"]["largest"].as_array().into_iter().flatten();
    let in_rooms: u64 = in_rooms.filter_map(|room| room[field].as_u64()).sum();
    let all = stress["deliveries"][field].as_u64().unwrap_or(0);
    all.saturating_sub(in_rooms)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn times(summary: &Value) -> String {
    let ms = |name: &str| number(&summary[name]) / 1e3;
    format!(
        "p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        ms("p50_us"),
        ms("p99_us"),
        ms("max_us")
    )
}
