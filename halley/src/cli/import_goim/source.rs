//! One of goim's files, key by key.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Which of goim's processes a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Comet,
    Logic,
    Job,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comet => "comet",
            Self::Logic => "logic",
            Self::Job => "job",
        })
    }
}

/// A file, with the keys that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    role: Role,
    /// By path in lower case, such as `tcp.bind`: goim ignores case.
    keys: BTreeMap<String, Key>,
}

#[derive(Debug)]
struct Key {
    /// The path as it stands in the file.
    written: String,
    value: Value,
}

/// Sections, and keys, that only one of goim's processes reads.
const MARKS: &[(Role, &[&str])] = &[
    (
        Role::Comet,
        &["tcp", "websocket", "protocol", "bucket", "whitelist"],
    ),
    (
        Role::Logic,
        &["node", "redis", "httpserver", "backoff", "regions"],
    ),
    (Role::Job, &["room", "comet", "kafka.group"]),
];

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let table: Table = toml::from_str(text).with_context(|| name.to_owned())?;
        let mut keys = BTreeMap::new();
        flatten("", table, &mut keys);
        Ok(Self {
            role: role_of(&keys).with_context(|| name.to_owned())?,
            name: name.to_owned(),
            keys,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Takes the value of a key, if the file has it.
    pub(super) fn take<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<Option<T>> {
        let Some(Key { written, value }) = self.keys.remove(path) else {
            return Ok(None);
        };
        let value = value
            .try_into()
            .map_err(|error| anyhow!("{}: {written}: {}", self.name, error.message()))?;
        Ok(Some(value))
    }

    /// Takes the value of a key that is a duration in Go's form, such as `1m30s`.
    pub(super) fn take_duration(&mut self, path: &str) -> anyhow::Result<Option<Duration>> {
        let Some(text) = self.take::<String>(path)? else {
            return Ok(None);
        };
        let duration = go_duration(&text)
            .with_context(|| format!("{}: {path}: {text:?} is no duration", self.name))?;
        Ok(Some(duration))
    }

    /// Takes a key, or all keys of a section, and says how they are written.
    pub(super) fn take_names(&mut self, path: &str) -> Vec<String> {
        let taken = self.keys.extract_if(.., |key, _| is_in(key, path));
        taken.map(|(_, key)| key.written).collect()
    }

    /// What nobody took.
    pub(super) fn rest(self) -> Vec<String> {
        self.keys.into_values().map(|key| key.written).collect()
    }
}

fn flatten(prefix: &str, table: Table, keys: &mut BTreeMap<String, Key>) {
    for (name, value) in table {
        let written = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        if let Value::Table(inner) = value {
            flatten(&written, inner, keys);
        } else {
            keys.insert(written.to_lowercase(), Key { written, value });
        }
    }
}

fn role_of(keys: &BTreeMap<String, Key>) -> anyhow::Result<Role> {
    let has = |mark: &&str| keys.keys().any(|key| is_in(key, mark));
    let roles: Vec<Role> = MARKS
        .iter()
        .filter(|(_, marks)| marks.iter().any(&has))
        .map(|(role, _)| *role)
        .collect();
    ensure!(
        roles.len() < 2,
        "has sections of goim's {} and of its {}",
        roles[0],
        roles[1]
    );
    roles.first().copied().context(
        "no section tells which of goim's processes it is for, such as [tcp], [node] or kafka.group",
    )
}

/// Whether a path is this one, or below it.
fn is_in(path: &str, section: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Reads what Go's `time.ParseDuration` reads, except negative durations.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_and_more) = rest.split_at(number_len);
        let unit_len = unit_and_more
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit_and_more.len());
        let (unit, more) = unit_and_more.split_at(unit_len);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = more;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("1s", Duration::from_secs(1)),
            ("200ms", Duration::from_millis(200)),
            ("1h30m", Duration::from_mins(90)),
            ("1.5h", Duration::from_mins(90)),
            ("+4m", Duration::from_mins(4)),
            ("2µs500ns", Duration::from_nanos(2500)),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(go_duration(text), Some(expected), "{text}");
        }
        for text in ["", "4", "4 m", "-1s", "1d", "s", ".", "1s2"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_is_recognised_by_what_is_in_it() {
        let role = |text| Source::parse("goim.toml", text).map(|source| source.role());

        assert_eq!(role("[TCP]\nbind = [':1']").unwrap(), Role::Comet);
        assert_eq!(role("[httpServer]\naddr = ':1'").unwrap(), Role::Logic);
        assert_eq!(role("[Kafka]\nGroup = 'g'").unwrap(), Role::Job);
        let neither = role("[kafka]\ntopic = 't'").unwrap_err();
        assert!(format!("{neither:#}").starts_with("goim.toml: no section tells"));
        let both = role("[tcp]\nbind = []\n[node]\ntcpPort = 1").unwrap_err();
        assert_eq!(
            format!("{both:#}"),
            "goim.toml: has sections of goim's comet and of its logic"
        );
    }

    #[test]
    fn keys_are_found_in_any_case_and_named_as_written() {
        let text = "[Bucket]\nSize = 8\nroutineAmount = 1\nRoom = 2\n[bucketlist]\nx = 1";
        let mut source = Source::parse("comet.toml", text).unwrap();

        assert_eq!(source.take::<i64>("bucket.size").unwrap(), Some(8));
        assert_eq!(source.take::<i64>("bucket.size").unwrap(), None);
        assert_eq!(
            source.take_names("bucket"),
            ["Bucket.Room", "Bucket.routineAmount"]
        );
        assert_eq!(source.rest(), ["bucketlist.x"]);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let mut source = Source::parse("comet.toml", "[tcp]\nBind = 3101").unwrap();
        let error = source.take::<Vec<String>>("tcp.bind").unwrap_err();
        assert!(
            error.to_string().starts_with("comet.toml: tcp.Bind: "),
            "{error}"
        );
    }
}
