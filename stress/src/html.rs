//! The report as a page that needs no other file.

mod charts;
mod plot;

use std::fmt::Write as _;

use anyhow::Context;

use self::charts::{Chart, charts};
use crate::report::Report;
use crate::scenario::Finished;
use crate::table::{Row, TIMES_HEAD, cells, rows, verdict};

const STYLE: &str = include_str!("html/page.css");

/// The whole page. `command` is how the tool was called, without secrets.
pub(crate) fn page(finished: &Finished, command: &str) -> anyhow::Result<String> {
    let Finished { report, series } = finished;
    let mut plots = String::new();
    for chart in charts(series).context("draw the plots")? {
        plots += &figure(&chart);
    }
    let title = format!("halley stress {}", report.scenario);
    let json = serde_json::to_string(report).context("encode the report")?;
    Ok(format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{STYLE}{colors}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="{class}" id="verdict">{verdict}</p>
<p class="command"><code>{command}</code></p>
<p class="where">{place}</p>
</header>
<main>
<section class="plots" aria-label="Plots">
{plots}</section>
<section class="tables">
{counts}{times}</section>
</main>
<script type="application/json" id="report">{json}</script>
</body>
</html>
"#,
        colors = plot::style(),
        class = if report.ok { "ok" } else { "failed" },
        verdict = escape(&verdict(report)),
        command = escape(command),
        place = escape(&place(report)),
        counts = counts(report),
        times = times(report),
        // In a script a tag has a meaning, in JSON it occurs in texts only.
        json = json.replace('<', r"\u003c"),
    ))
}

fn figure(chart: &Chart) -> String {
    let Chart { id, title, svg } = chart;
    format!("<figure id=\"{id}\">\n<figcaption>{title}</figcaption>\n{svg}\n</figure>\n")
}

fn place(report: &Report) -> String {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "run {}, halley {}, {} {}, {cores} cores",
        report.run,
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
    )
}

fn counts(report: &Report) -> String {
    let mut table = "<table id=\"counts\">\n<tbody>\n".to_owned();
    for Row { name, value } in rows(report) {
        let (name, value) = (escape(&name), escape(&value));
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>"
        );
    }
    table + "</tbody>\n</table>\n"
}

fn times(report: &Report) -> String {
    let mut table = "<table id=\"times\">\n<thead><tr>".to_owned();
    for title in TIMES_HEAD {
        let _ = write!(table, "<th scope=\"col\">{title}</th>");
    }
    table += "</tr></thead>\n<tbody>\n";
    for [name, figures @ ..] in cells(report) {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", escape(&name));
        for figure in figures {
            let _ = write!(table, "<td class=\"number\">{figure}</td>");
        }
        table += "</tr>\n";
    }
    table + "</tbody>\n</table>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
