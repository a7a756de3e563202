//! The load tool as its users call it. Setup: one gateway with every role, and every scenario of `halley stress` at
//! small size against it, all at the same time. Claim: each ends with success, nothing is lost and nothing out of
//! order, and its page shows in a real browser what was measured, in light and in dark.

use std::path::{Path, PathBuf};

use halley_tests::browser::{Scheme, probe};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, Halley, Listening};

/// How long each scenario loads the gateway.
const SECONDS: f64 = 20.0;

struct Scenario {
    /// Of its page, too.
    name: &'static str,
    flags: &'static str,
    /// The lines that its page has beside those of [`PLOTS`].
    plots: &'static [&'static str],
    /// Whether the gateway is pushed to.
    pushes: bool,
}

/// What every page shows.
const PLOTS: [&str; 7] = [
    "heartbeat",
    "percentiles",
    "throughput",
    "connections",
    "memory",
    "cpu",
    "files",
];

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "idle",
        flags: "idle -n 150 --rate 300 --duration 20s --heartbeat 1s --report --transport mixed",
        plots: &[],
        pushes: false,
    },
    Scenario {
        name: "room",
        flags: "room -n 40 --rate 20 --duration 20s --heartbeat 1s --transport ws",
        plots: &["delivery"],
        pushes: true,
    },
    Scenario {
        name: "rooms",
        flags: "rooms -n 60 --rooms 10 --rate 20 --duration 20s --heartbeat 1s --transport mixed",
        plots: &["delivery"],
        pushes: true,
    },
    Scenario {
        name: "push",
        flags: "push -n 40 --rate 20 --by mids --duration 20s --heartbeat 1s",
        plots: &["delivery"],
        pushes: true,
    },
    Scenario {
        name: "batch",
        flags: "push -n 40 --rate 80 --batch 8 --duration 20s --heartbeat 1s --transport mixed",
        plots: &["delivery"],
        pushes: true,
    },
    Scenario {
        name: "storm",
        flags: "storm -n 60 --storms 4 --calm 5s --transport mixed",
        plots: &["handshake"],
        pushes: false,
    },
    Scenario {
        name: "churn",
        flags: "storm --churn -n 20 --rate 20 --concurrency 4 --duration 20s",
        plots: &["handshake"],
        pushes: false,
    },
    Scenario {
        name: "mixed",
        flags: "mixed -n 60 --rooms 10 --rate 10 --user-rate 10 --turnover 4 --changes 4 --duration 20s \
            --grace 5s --slow 0.1 --slow-pause 1s --heartbeat 1s --transport mixed",
        plots: &["delivery", "handshake"],
        pushes: true,
    },
    Scenario {
        name: "soak",
        flags: "soak -n 40 --rooms 5 --rate 10 --user-rate 5 --duration 20s --grace 5s --heartbeat 1s \
            --sample-every 500ms",
        plots: &["delivery", "handshake"],
        pushes: true,
    },
];

#[test]
fn every_scenario_ends_well_and_shows_it() {
    let pages = TempDir::new().expect("a folder");
    let (gateway, listening) = Halley::serve(&[]);
    let running: Vec<_> = SCENARIOS
        .iter()
        .map(|scenario| (scenario, start(scenario, &listening, pages.path())))
        .collect();
    for (scenario, tool) in running {
        check_report(scenario, &tool.end());
    }
    drop(gateway);

    for scheme in [Scheme::Light, Scheme::Dark] {
        let files: Vec<PathBuf> = SCENARIOS
            .iter()
            .map(|scenario| scenario.page(pages.path()))
            .collect();
        let seen = probe(&files, scheme).expect("pages in a browser");
        for (scenario, page) in SCENARIOS.iter().zip(&seen) {
            check_page(scenario, page, scheme);
        }
    }
}

#[test]
fn a_figure_that_does_not_exist_is_a_mistake_and_not_a_failed_run() {
    for (flags, says) in [
        (
            "--expect=lost=0",
            "\"lost\" is no figure; it is one of loss, ",
        ),
        ("--expect=p99<50", "\"50\" needs a unit"),
        ("--size=3", "--size: "),
        ("--nonsense", "unexpected argument"),
    ] {
        let tool = Halley::start(&["stress", "room", flags]).end();
        assert_eq!(tool.code, Some(2), "{flags}: {}", tool.stderr);
        assert!(tool.stderr.contains(says), "{flags}: {}", tool.stderr);
        assert_eq!(tool.stdout, "");
    }
}

impl Scenario {
    fn page(&self, pages: &Path) -> PathBuf {
        pages.join(format!("{}.html", self.name))
    }
}

fn start(scenario: &Scenario, listening: &Listening, pages: &Path) -> Halley {
    let page = scenario.page(pages);
    // Other tests share the machine, so there are no expectations of times but those of a stuck gateway.
    let pushes = if scenario.pushes {
        format!(
            "--http http://{} --expect loss=0,reordered=0,duplicated=0,misrouted=0,push_errors=0,p99<10s",
            listening.http()
        )
    } else {
        String::new()
    };
    let line = format!(
        "stress {} --tcp {} --ws {} --json --html {} --limit 55s \
            --expect connect_failures=0,disconnects=0,unanswered=0,handshake.p99<10s {pushes}",
        scenario.flags,
        listening.tcp(),
        listening.at("websocket "),
        page.display()
    );
    let args: Vec<&str> = line.split_whitespace().collect();
    Halley::start(&args)
}

fn check_report(scenario: &Scenario, tool: &Ended) {
    let Scenario { name, pushes, .. } = scenario;
    let context = format!("{name}: {}\n{}", tool.stdout, tool.stderr);
    assert_eq!(tool.code, Some(0), "{context}");
    let report: Value = serde_json::from_str(&tool.stdout).expect("one JSON object");
    assert_eq!(report["ok"], true, "{context}");
    assert_eq!(report["problems"], Value::Array(Vec::new()), "{context}");
    assert_eq!(report["interrupted"], false, "{context}");
    let connections = &report["connections"];
    assert_eq!(connections["ready"], connections["wanted"], "{context}");
    assert_eq!(report["server"]["pids"].as_array().map(Vec::len), Some(1));
    if *pushes {
        let deliveries = &report["deliveries"];
        assert!(deliveries["expected"].as_u64() > Some(100), "{context}");
        assert_eq!(deliveries["expected"], deliveries["received"], "{context}");
        for fault in ["lost", "reordered", "duplicated", "unexpected", "misrouted"] {
            assert_eq!(deliveries[fault], 0, "{fault} in {context}");
        }
        let lasted = report["pushes"]["seconds"].as_f64();
        // The last push is due one gap before the end.
        assert!(lasted > Some(SECONDS - 1.0), "{context}");
    }
    match *name {
        "idle" => assert!(report["memory"]["kernel_bytes"].is_number(), "{context}"),
        "rooms" => assert_eq!(report["rooms"]["count"], 10, "{context}"),
        "storm" => {
            let storms = report["storms"].as_array().expect("storms");
            assert_eq!(storms.len(), 4, "{context}");
            for storm in storms {
                assert_eq!(storm["ready"], storm["dropped"], "{context}");
                assert!(storm["dropped"].as_u64() > Some(40), "{context}");
            }
        }
        "churn" => assert!(
            report["churn"]["connects"].as_u64() > Some(300),
            "{context}"
        ),
        "mixed" => {
            assert!(report["turnover"]["connects"].as_u64() > Some(40));
            assert!(report["turnover"]["changes_answered"].as_u64() > Some(40));
            assert!(report["slow"]["members"].as_u64() > Some(0), "{context}");
        }
        "soak" => assert!(report["growth"]["samples"].as_u64() > Some(20), "{context}"),
        _ => {}
    }
}

fn check_page(scenario: &Scenario, page: &Value, scheme: Scheme) {
    let text = serde_json::to_string_pretty(page).expect("text");
    let context = format!("{} in {scheme:?}: {text}", scenario.name);
    assert_eq!(page["dark"], scheme == Scheme::Dark, "{context}");
    assert_eq!(page["fetched"], Value::Array(Vec::new()), "{context}");
    assert_eq!(page["report"]["ok"], true, "{context}");
    assert!(contrast(&page["colour"], &page["surface"]) > 7.0);

    let plots = page["plots"].as_array().expect("plots");
    for id in PLOTS.iter().chain(scenario.plots) {
        let plot = plots.iter().find(|plot| plot["id"] == *id);
        check_plot(plot.unwrap_or_else(|| panic!("no plot of {id} in {context}")));
    }
}

/// A plot has a size, lines that can be told from what they are drawn on, and figures that can be read.
fn check_plot(plot: &Value) {
    let at_least = |element: &Value, what: &str, least: f64| {
        assert!(
            element[what].as_f64() >= Some(least),
            "{what} of {element} in {plot}"
        );
    };
    at_least(plot, "width", 300.0);
    at_least(plot, "height", 100.0);
    let lines = plot["lines"].as_array().expect("lines");
    at_least(plot, "drawn", 250.0);
    let long = |line: &Value| line["length"].as_f64() > Some(50.0);
    assert!(
        lines.iter().any(long) || plot["dots"].as_u64() > Some(5),
        "{plot}"
    );
    for line in lines {
        // What the guidelines for accessible pages ask for of graphics, and below of text.
        assert!(
            contrast(&line["colour"], &plot["surface"]) >= 3.0,
            "{line} in {plot}"
        );
    }
    let texts = plot["texts"].as_array().expect("texts");
    assert!(texts.len() > 5, "{plot}");
    for text in texts {
        at_least(text, "width", 1.0);
        assert!(
            contrast(&text["colour"], &plot["surface"]) >= 4.5,
            "{text} in {plot}"
        );
    }
}

/// Of two colours such as `rgb(26, 26, 25)`, from 1 to 21.
fn contrast(one: &Value, other: &Value) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: &Value) -> f64 {
    let text = colour.as_str().expect("a colour");
    let parts = text
        .strip_prefix("rgb(")
        .and_then(|rest| rest.strip_suffix(')'));
    let parts = parts.unwrap_or_else(|| panic!("{text}"));
    let linear = |part: &str| {
        let value = part.trim().parse::<f64>().expect("a number") / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    let weights = [0.2126, 0.7152, 0.0722];
    parts
        .split(',')
        .zip(weights)
        .map(|(part, weight)| linear(part) * weight)
        .sum()
}
