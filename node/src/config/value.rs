use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value, and where it was set.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// From the environment or the command line: whoever reads it knows its type.
    Text(String),
    Array(Vec<Entry>),
    Table(Table),
}

/// Where a value was set, as the operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No source at all.
    Default,
    File {
        path: Arc<PathBuf>,
        /// Counts from 1.
        line: usize,
    },
    /// A variable of the environment, whose name starts with this prefix.
    Environment {
        prefix: &'static str,
    },
    CommandLine,
}

impl Origin {
    /// The key as it is written in this source.
    pub(super) fn spell(&self, path: &[String]) -> String {
        match self {
            Self::Environment { prefix } => {
                format!("{prefix}_{}", path.join("__").to_uppercase())
            }
            Self::Default | Self::File { .. } | Self::CommandLine => path.join("."),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("defaults"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { .. } => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

impl Entry {
    pub(super) fn empty_table() -> Self {
        Self {
            value: Value::Table(Table::new()),
            origin: Origin::Default,
        }
    }

    /// A value that no source sets.
    pub(super) fn default(value: toml::Value) -> Self {
        let value = match value {
            toml::Value::String(value) => Value::String(value),
            toml::Value::Integer(value) => Value::Integer(value),
            toml::Value::Float(value) => Value::Float(value),
            toml::Value::Boolean(value) => Value::Bool(value),
            toml::Value::Datetime(value) => Value::String(value.to_string()),
            toml::Value::Array(values) => {
                Value::Array(values.into_iter().map(Self::default).collect())
            }
            toml::Value::Table(table) => {
                let entries = table.into_iter();
                Value::Table(
                    entries
                        .map(|(key, value)| (key, Self::default(value)))
                        .collect(),
                )
            }
        };
        Self {
            value,
            origin: Origin::Default,
        }
    }

    /// Lays `over` on top: tables key by key, anything else as a whole.
    pub(super) fn merge(&mut self, mut over: Self) {
        if let Value::Table(under) = &mut self.value {
            if let Value::Text(text) = &over.value {
                over.value = guess(text, &over.origin);
            }
            if let Value::Table(table) = over.value {
                for (key, entry) in table {
                    match under.get_mut(&key) {
                        Some(present) => present.merge(entry),
                        None => {
                            under.insert(key, entry);
                        }
                    }
                }
                return;
            }
        }
        *self = over;
    }

    /// Text at the end of a path, to be merged.
    pub(super) fn at_path(path: &[String], text: String, origin: &Origin) -> Self {
        let leaf = Self {
            value: Value::Text(text),
            origin: origin.clone(),
        };
        path.iter().rev().fold(leaf, |entry, key| Self {
            value: Value::Table(Table::from([(key.clone(), entry)])),
            origin: origin.clone(),
        })
    }

    /// Where the value at the end of `path` below this one was set, or as much of
    /// the path as exists.
    pub(super) fn origin_of(&self, path: &[String]) -> &Origin {
        let below = path.split_first().and_then(|(first, rest)| {
            let next = match &self.value {
                Value::Table(table) => table.get(first)?,
                Value::Array(entries) => entries.get(first.parse::<usize>().ok()?)?,
                Value::Bool(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::String(_)
                | Value::Text(_) => return None,
            };
            Some(next.origin_of(rest))
        });
        below.unwrap_or(&self.origin)
    }
}

/// Reads a TOML document.
pub(super) fn parse(text: &str, path: PathBuf) -> Result<Entry, toml::de::Error> {
    let path = Arc::new(path);
    let origin = |offset: usize| Origin::File {
        path: Arc::clone(&path),
        line: 1 + text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count(),
    };
    let document = DeTable::parse(text)?;
    Ok(Entry {
        value: table(document.get_ref(), &origin),
        origin: origin(0),
    })
}

/// Takes text for the TOML value that it spells, or else for a string.
pub(super) fn guess(text: &str, origin: &Origin) -> Value {
    let document = format!("value = {text}");
    let parsed = DeTable::parse(&document).ok();
    // More than one key: the text goes on after the value.
    let only = parsed
        .as_ref()
        .filter(|parsed| parsed.get_ref().len() == 1)
        .and_then(|parsed| parsed.get_ref().values().next());
    only.map_or_else(
        || Value::String(text.to_owned()),
        |only| value(only, &|_| origin.clone()),
    )
}

fn table(table: &DeTable<'_>, origin: &impl Fn(usize) -> Origin) -> Value {
    let entries = table.iter().map(|(key, spanned)| {
        let entry = Entry {
            value: value(spanned, origin),
            // The key's line, for a value may go on over several.
            origin: origin(key.span().start),
        };
        (key.get_ref().to_string(), entry)
    });
    Value::Table(entries.collect())
}

fn value(spanned: &Spanned<DeValue<'_>>, origin: &impl Fn(usize) -> Origin) -> Value {
    match spanned.get_ref() {
        DeValue::String(string) => Value::String(string.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::String(integer.to_string()), Value::Integer),
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .map_or_else(|_| Value::String(float.to_string()), Value::Float),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(values) => Value::Array(
            values
                .iter()
                .map(|element| Entry {
                    value: value(element, origin),
                    origin: origin(element.span().start),
                })
                .collect(),
        ),
        DeValue::Table(inner) => table(inner, origin),
    }
}
