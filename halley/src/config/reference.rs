//! `halley.toml`: every key with its meaning, and the form of its lines.
//!
//! - `[section]` starts a section;
//! - `#key = value` is a key at its default, taken over by removing the `#`;
//! - `#key = value  # example` is a key without a default;
//! - `# text` explains what follows.

use std::collections::BTreeSet;

use halley_logic::config::Secrets;
use toml::{Table, Value};

/// Ends the line of a key whose secret is hidden. The line sets the key all the
/// same: without keys the push API would be open to everyone.
const NOT_SHOWN: &str = "  # not shown: put the secret itself in place of (hidden)";

/// The reference file.
pub(super) const REFERENCE: &str = include_str!("../../../halley.toml");

/// The reference file with the values of `config` in force.
pub(super) fn render(config: &Table) -> String {
    let mut rendered = String::with_capacity(REFERENCE.len());
    let mut lines = REFERENCE.lines();
    let mut table = None;
    while let Some(line) = lines.next() {
        if let Some(name) = section_of(line) {
            table = table_at(config, name);
            push_line(&mut rendered, line);
            let known: BTreeSet<_> = lines
                .clone()
                .take_while(|line| section_of(line).is_none())
                .filter_map(key_of)
                .collect();
            for (key, value) in table.into_iter().flatten() {
                // What the file cannot know, such as the names of regions.
                if !value.is_table() && !known.contains(key.as_str()) {
                    push_line(&mut rendered, &set(key, value));
                }
            }
            continue;
        }
        let value = key_of(line).and_then(|key| Some((key, table?.get(key)?)));
        match value {
            Some((key, value)) => push_line(&mut rendered, &set(key, value)),
            None => push_line(&mut rendered, line),
        }
    }
    rendered
}

fn table_at<'a>(config: &'a Table, name: &str) -> Option<&'a Table> {
    name.split('.')
        .try_fold(config, |table, key| table.get(key)?.as_table())
}

/// The line that sets a key.
fn set(key: &str, value: &Value) -> String {
    if let Value::Float(float) = value {
        // Of a float that a key holds as an f32, half of the digits mean nothing.
        let short = narrow(*float);
        if f64::from(short).to_bits() == float.to_bits() {
            return format!("{key} = {short:?}");
        }
    }
    let mut line = format!("{key} = {value}");
    if line.contains(Secrets::HIDDEN) {
        line.push_str(NOT_SHOWN);
    }
    line
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller looks whether it was exact"
)]
fn narrow(float: f64) -> f32 {
    float as f32
}

fn push_line(rendered: &mut String, line: &str) {
    rendered.push_str(line);
    rendered.push('\n');
}

/// The name in a line that starts a section.
pub(super) fn section_of(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

/// The key in a line that sets one.
pub(super) fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix('#')?.split_once(" = ")?;
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!key.is_empty() && key.bytes().all(is_key)).then_some(key)
}
