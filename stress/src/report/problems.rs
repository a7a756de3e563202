//! Every reason for which a run is not ok.

use super::{Findings, Report};
use crate::expect::{Expectation, Judged};

/// The rules of the tool itself. An expectation of a figure stands in for the rule about it.
struct Rules<'a> {
    expectations: &'a [Expectation],
    problems: Vec<String>,
}

pub(super) fn find(report: &Report, findings: &Findings) -> Vec<String> {
    let mut rules = Rules {
        expectations: &findings.expectations,
        problems: Vec::new(),
    };
    if let Some(seconds) = findings.overdue_after {
        rules
            .problems
            .push(format!("the run took longer than {seconds:.0} s"));
    }
    rules.connections(report);
    rules.pushes(report);
    rules.deliveries(report);
    rules.turnover(report);
    rules.storms(report);
    rules.growth(report);
    let Rules { mut problems, .. } = rules;
    problems.extend(report.expectations.iter().filter_map(Judged::problem));
    problems
}

impl Rules<'_> {
    /// A count that has to be 0.
    fn none(&mut self, figure: &str, count: u64, what: &str) {
        if count > 0 && !self.is_expected(figure) {
            self.problems.push(format!("{count} {what}"));
        }
    }

    fn is_expected(&self, figure: &str) -> bool {
        let about = |expectation: &Expectation| expectation.is_about(figure);
        self.expectations.iter().any(about)
    }

    fn connections(&mut self, report: &Report) {
        let connections = &report.connections;
        let failed: u64 = connections.failures.values().sum();
        self.none(
            "connect_failures",
            report.connect_failures(),
            "connections failed",
        );
        if !report.interrupted {
            let tried = connections.ready + failed;
            let untried = connections.wanted.saturating_sub(tried);
            self.none("untried", untried, "connections were not tried");
        }
        let lost = connections.disconnects.values().sum();
        self.none("disconnects", lost, "connections were lost");
        let unanswered = report.heartbeats.unanswered();
        self.none("unanswered", unanswered, "heartbeats were not answered");
        if let Some(churn) = &report.churn {
            let idle = u64::from(churn.connects == 0);
            self.none("connect_rate", idle, "runs without any login");
        }
    }

    fn pushes(&mut self, report: &Report) {
        let Some(pushes) = &report.pushes else { return };
        let failed = pushes.errors.values().sum();
        self.none("push_errors", failed, "pushes failed");
        if !report.interrupted {
            let unsent = pushes.unsent();
            self.none("unsent", unsent, "pushes could not be sent in time");
        }
        let silent = u64::from(pushes.accepted == 0);
        self.none("accepted", silent, "runs without any accepted push");
    }

    fn deliveries(&mut self, report: &Report) {
        let Some(deliveries) = &report.deliveries else {
            return;
        };
        let verdict = &deliveries.verdict;
        for (figure, count, what) in [
            ("loss", verdict.lost, "deliveries were lost"),
            ("duplicated", verdict.duplicated, "deliveries came again"),
            (
                "reordered",
                verdict.reordered,
                "deliveries came out of order",
            ),
            (
                "unexpected",
                verdict.unexpected,
                "deliveries came of refused pushes",
            ),
            (
                "misrouted",
                deliveries.misrouted,
                "deliveries went to another user",
            ),
            ("corrupt", deliveries.corrupt, "deliveries were damaged"),
        ] {
            self.none(figure, count, what);
        }
    }

    fn turnover(&mut self, report: &Report) {
        let Some(turnover) = &report.turnover else {
            return;
        };
        let unanswered = turnover.unanswered();
        self.none(
            "unanswered_changes",
            unanswered,
            "changes of room were not answered",
        );
    }

    fn storms(&mut self, report: &Report) {
        if let Some(stranded) = report.over_storms(super::StormReport::stranded) {
            self.none("stranded", stranded, "connections found no way back");
        }
    }

    fn growth(&mut self, report: &Report) {
        let Some(growth) = &report.growth else { return };
        let Some(allowed) = growth.bytes_per_hour_max else {
            return;
        };
        if self.is_expected("growth") {
            return;
        }
        let mebibytes = |bytes: f64| bytes / (1024.0 * 1024.0);
        match growth.bytes_per_hour {
            Some(found) if found > allowed => self.problems.push(format!(
                "the server grew by {:.1} MiB per hour, {:.1} are allowed",
                mebibytes(found),
                mebibytes(allowed)
            )),
            Some(_) => {}
            None if report.interrupted => {}
            None => self
                .problems
                .push("whether the server grew is unknown".to_owned()),
        }
    }
}
