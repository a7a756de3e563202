//! What a user expects of a run, such as `loss=0` or `p99<50ms`.

mod figure;

use std::str::FromStr;

use serde::Serialize;

use self::figure::Figure;
use crate::report::Report;

/// `figure operator value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    /// As it was written.
    text: String,
    figure: Figure,
    operator: Operator,
    /// In the figure's own unit.
    value: f64,
}

/// What became of an expectation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) expected: String,
    /// With its unit; `null` when the run has no such figure.
    pub(crate) actual: Option<String>,
    pub(crate) met: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// The longer ones first: a shorter one is the beginning of a longer one.
const OPERATORS: [(&str, Operator); 7] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("!=", Operator::NotEqual),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("=", Operator::Equal),
];

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(['<', '>', '=', '!'])
            .ok_or_else(|| format!("{text:?} has none of < <= = != >= >"))?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)))
            .ok_or_else(|| format!("{text:?} has none of < <= = != >= >"))?;
        let figure: Figure = name.trim().parse()?;
        Ok(Self {
            text: text.trim().to_owned(),
            value: figure.unit().parse(value.trim())?,
            figure,
            operator,
        })
    }
}

impl Expectation {
    /// Whether it is about this figure, whose ordinary rule it then stands in for.
    pub(crate) fn is_about(&self, figure: &str) -> bool {
        self.figure.name() == figure
    }

    pub(crate) fn judge(&self, report: &Report) -> Judged {
        let actual = self.figure.of(report);
        Judged {
            expected: self.text.clone(),
            actual: actual.map(|actual| self.figure.unit().format(actual)),
            met: actual.is_some_and(|actual| self.operator.holds(actual, self.value)),
        }
    }
}

impl Judged {
    /// Why the run fails, if it does.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self {
            expected,
            actual,
            met,
        } = self;
        let was = match actual {
            Some(actual) => format!("was {actual}"),
            None => "this run has no such figure".to_owned(),
        };
        (!met).then(|| format!("expected {expected}, {was}"))
    }
}

impl Operator {
    #[expect(
        clippy::float_cmp,
        reason = "to expect equality is for counts, which are whole numbers"
    )]
    fn holds(self, actual: f64, value: f64) -> bool {
        match self {
            Self::Less => actual < value,
            Self::LessOrEqual => actual <= value,
            Self::Equal => actual == value,
            Self::NotEqual => actual != value,
            Self::GreaterOrEqual => actual >= value,
            Self::Greater => actual > value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expectation, String> {
        text.parse()
    }

    #[test]
    fn values_are_in_the_unit_of_their_figure() {
        for (text, value) in [
            ("loss=0", 0.0),
            ("p99<50ms", 50_000.0),
            ("p99.9 <= 1.5 s", 1_500_000.0),
            ("handshake.max<700us", 700.0),
            ("heartbeat.p99.9<0", 0.0),
            ("memory<1.5KiB", 1536.0),
            ("growth <= 10MB", 10_000_000.0),
            ("delivery_rate>1000000", 1_000_000.0),
            ("cpu_per_million<6s", 6_000_000.0),
        ] {
            assert_eq!(parse(text).map(|parsed| parsed.value), Ok(value), "{text}");
        }
    }

    #[test]
    fn operators_mean_what_they_say() {
        let holds = |text: &str, actual| {
            let parsed = parse(text).unwrap();
            parsed.operator.holds(actual, parsed.value)
        };
        for (text, below, same, above) in [
            ("loss<5", true, false, false),
            ("loss<=5", true, true, false),
            ("loss=5", false, true, false),
            ("loss==5", false, true, false),
            ("loss!=5", true, false, true),
            ("loss>=5", false, true, true),
            ("loss>5", false, false, true),
        ] {
            let found = (holds(text, 4.0), holds(text, 5.0), holds(text, 6.0));
            assert_eq!(found, (below, same, above), "{text}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, says) in [
            ("loss", "has none of"),
            ("loss~0", "has none of"),
            ("loss!0", "has none of"),
            ("lost=0", "one of loss, "),
            ("lost=0", "handshake"),
            ("p98<1ms", "one of loss, "),
            ("lag.p98<1ms", "one of loss, "),
            ("loss=many", "not a number"),
            ("loss=1ms", "not a number"),
            ("p99<50", "needs a unit"),
            ("p99<50MB", "needs a unit"),
            ("memory<50", "needs a unit"),
            ("loss=", "not a number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
