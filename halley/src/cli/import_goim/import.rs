//! The config as it grows, and what is to be said about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

/// What became of goim's files.
#[derive(Debug)]
pub(super) struct Import {
    files: String,
    /// In the order in which they were begun.
    sections: Vec<Section>,
    /// By reason, with the keys that it holds for, in the order of the files.
    dropped: Vec<(String, Vec<String>)>,
    decisions: Vec<String>,
}

#[derive(Debug)]
struct Section {
    name: String,
    keys: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// Lines above it.
    comment: &'static str,
}

impl Import {
    pub(super) fn new(files: &[&str]) -> Self {
        Self {
            files: files.join(", "),
            sections: Vec::new(),
            dropped: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Sets a key; when two of goim's files disagree, the first one holds and
    /// the operator is told.
    pub(super) fn set(&mut self, path: &str, value: impl Into<Value>) {
        self.set_and_say(path, value, "");
    }

    /// Sets a key with a comment for those who read the config later.
    pub(super) fn set_and_say(
        &mut self,
        path: &str,
        value: impl Into<Value>,
        comment: &'static str,
    ) {
        let value = value.into();
        let (section, key) = split(path);
        match self.section(section).keys.get(key) {
            None => {
                let entry = Entry { value, comment };
                self.section(section).keys.insert(key.to_owned(), entry);
            }
            Some(first) if first.value == value => {}
            Some(first) => {
                let first = &first.value;
                let text = format!(
                    "{path}: goim's files say {first} and {value}; the config has the former"
                );
                self.decide(text);
            }
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        let (section, key) = split(path);
        let section = self.sections.iter().find(|known| known.name == section);
        section.is_some_and(|section| section.keys.contains_key(key))
    }

    /// Sets a key if goim's file has a value for it.
    pub(super) fn set_some(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(path, value);
        }
    }

    /// Notes keys that have no successor.
    pub(super) fn drop(
        &mut self,
        file: &str,
        keys: impl IntoIterator<Item = String>,
        reason: &str,
    ) {
        let keys: Vec<String> = keys
            .into_iter()
            .map(|key| format!("{file} {key}"))
            .collect();
        if keys.is_empty() {
            return;
        }
        match self.dropped.iter_mut().find(|(known, _)| known == reason) {
            Some((_, dropped)) => dropped.extend(keys),
            None => self.dropped.push((reason.to_owned(), keys)),
        }
    }

    /// Notes what only the operator can know, once.
    pub(super) fn decide(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.decisions.contains(&text) {
            self.decisions.push(text);
        }
    }

    /// The config as TOML.
    pub(super) fn render(&self) -> String {
        let mut text = format!(
            "# Made from goim's {} by `halley import-goim`. One file serves every role: `halley comet`,\n\
             # `halley logic` and `halley job` read their own sections. halley.toml explains all keys.\n",
            self.files
        );
        for Section { name, keys } in &self.sections {
            let _ = write!(text, "\n[{name}]\n");
            for (key, Entry { value, comment }) in keys {
                for line in comment.lines() {
                    let _ = writeln!(text, "# {line}");
                }
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }

    /// What is not in the config, for people.
    pub(super) fn report(&self) -> String {
        let mut text = String::new();
        if !self.dropped.is_empty() {
            text.push_str("dropped:\n");
        }
        for (reason, keys) in &self.dropped {
            let _ = writeln!(text, "  {}\n      {reason}", keys.join(", "));
        }
        if !self.decisions.is_empty() {
            text.push_str("to decide:\n");
        }
        for decision in &self.decisions {
            let _ = writeln!(text, "  {decision}");
        }
        text.push_str(
            "then, for each role: halley check-config --role comet --config halley.toml\n",
        );
        text
    }

    fn section(&mut self, name: &str) -> &mut Section {
        let known = self.sections.iter().position(|known| known.name == name);
        let index = known.unwrap_or_else(|| {
            self.sections.push(Section {
                name: name.to_owned(),
                keys: BTreeMap::new(),
            });
            self.sections.len() - 1
        });
        &mut self.sections[index]
    }
}

/// The section and the key of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.')
        .expect("invariant: every key is in a section")
}
