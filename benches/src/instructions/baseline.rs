//! The committed counts: a line for each case, its name and its count.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

const HEADER: &str = "# Instructions of one go of each case in a release build. Renewed, never edited:\n\
    # make instructions INSTRUCTIONS=--renew\n";

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Baseline(BTreeMap<String, f64>);

impl Baseline {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let counts = lines.map(|line| {
            let (name, count) = line.rsplit_once(' ').context("a line without a count")?;
            Ok((name.trim_end().to_owned(), count.parse()?))
        });
        let counts: anyhow::Result<_> = counts.collect();
        Ok(Self(
            counts.with_context(|| format!("read {}", file.display()))?,
        ))
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = HEADER.to_owned();
        for (name, count) in &self.0 {
            let _ = writeln!(text, "{name} {count:.1}");
        }
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub(crate) fn set(&mut self, name: &str, count: f64) {
        self.0.insert(name.to_owned(), count);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
