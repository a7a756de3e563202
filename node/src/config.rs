//! Configuration: one value of a program's own type, out of a TOML file, the
//! environment and the command line.
//!
//! The later source wins, key by key; a key that none of them sets keeps its
//! default. The types say `deny_unknown_fields`: a key
//! that does not exist is an error that names the nearest one that does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

mod de;
mod secret;
mod suggest;
mod value;

pub use secret::Secret;
pub use value::Origin;

use de::Problem;
use value::Entry;

/// Lays sources on top of one another, in the order in which they are added.
#[derive(Clone, Debug)]
pub struct Loader {
    root: Entry,
}

/// The operator's to correct, all of them. Texts name the source and the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Syntax {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("environment: {name} is not valid UTF-8")]
    NotUtf8 { name: String },
    #[error("command line: {key:?} is not a key, expected a form such as log.filter")]
    NotAKey { key: String },
    #[error("{origin}: unknown key `{key}`; {advice}")]
    UnknownKey {
        origin: Origin,
        key: String,
        advice: String,
    },
    #[error("{origin}: `{key}`: {problem}")]
    Invalid {
        origin: Origin,
        key: String,
        problem: String,
    },
    #[error("{origin}: {problem}")]
    InvalidWhole { origin: Origin, problem: String },
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            root: Entry::empty_table(),
        }
    }
}

impl Loader {
    /// No source yet: every key has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the values that keys have when no source sets them, in place of those
    /// that the types of single sections give them.
    ///
    /// # Panics
    ///
    /// When `defaults` cannot be written as a table of TOML.
    #[must_use]
    pub fn defaults(mut self, defaults: &impl Serialize) -> Self {
        let defaults = toml::Value::try_from(defaults).expect("defaults can be written in TOML");
        self.root.merge(Entry::default(defaults));
        self
    }

    /// Adds a TOML file.
    pub fn file(self, path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        self.text(&text, path)
    }

    /// Adds a TOML document that errors call `name`.
    pub fn text(mut self, text: &str, name: &Path) -> Result<Self, Error> {
        let document = value::parse(text, name.to_owned()).map_err(|source| Error::Syntax {
            path: name.to_owned(),
            source,
        })?;
        self.root.merge(document);
        Ok(self)
    }

    /// Adds the variables whose names start with `prefix` and an underscore,
    /// except those in `others`, which mean something else to the program.
    ///
    /// Two underscores separate the keys: `HALLEY_COMET__TCP__BIND` is
    /// `comet.tcp.bind`. A value is read as its key's type asks: strings as they
    /// are, lists as `a, b` or in TOML, tables in TOML; an empty one unsets a key
    /// that can be unset.
    pub fn env(
        mut self,
        prefix: &'static str,
        others: &[&str],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let origin = Origin::Environment { prefix };
        let mut named = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let key = name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('_'));
            let Some(key) = key.filter(|_| !others.contains(&name)) else {
                continue;
            };
            let value = value.into_string().map_err(|_| Error::NotUtf8 {
                name: name.to_owned(),
            })?;
            let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            named.push((path, value));
        }
        // Shorter paths first: a variable for a part of a table is laid on top of
        // one for the whole table.
        named.sort();
        for (path, value) in named {
            self.root.merge(Entry::at_path(&path, value, &origin));
        }
        Ok(self)
    }

    /// Sets one key, written with dots, as the command line does. The value is
    /// read as one of the environment is.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, Error> {
        let path: Vec<String> = key.split('.').map(|key| key.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(Error::NotAKey {
                key: key.to_owned(),
            });
        }
        let entry = Entry::at_path(&path, value.to_owned(), &Origin::CommandLine);
        self.root.merge(entry);
        Ok(self)
    }

    /// Reads the program's type out of what the sources make together.
    pub fn load<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.root).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: de::Error) -> Error {
        let de::Error {
            problem,
            path,
            origin,
        } = error;
        let origin = origin.unwrap_or_else(|| self.root.origin_of(&path).clone());
        let key = origin.spell(&path);
        let problem = match problem {
            Problem::UnknownKey { known } => {
                let advice = advise(&path, &origin, known);
                return Error::UnknownKey {
                    origin,
                    key,
                    advice,
                };
            }
            Problem::UnknownChoice { choice, known } => {
                let nearest = suggest::nearest(&choice, known)
                    .map_or_else(String::new, |nearest| {
                        format!("; did you mean `{nearest}`?")
                    });
                let known = known.join(", ");
                format!("unknown choice `{choice}`, expected one of {known}{nearest}")
            }
            Problem::Other(text) => text,
        };
        if path.is_empty() {
            Error::InvalidWhole { origin, problem }
        } else {
            Error::Invalid {
                origin,
                key,
                problem,
            }
        }
    }
}

/// What to write instead of the last key of `path`.
fn advise(path: &[String], origin: &Origin, known: &'static [&'static str]) -> String {
    let (wrong, parents) = path
        .split_last()
        .map_or(("", path), |(last, parents)| (last.as_str(), parents));
    match suggest::nearest(wrong, known) {
        Some(nearest) => {
            let mut path = parents.to_vec();
            path.push(nearest.to_owned());
            format!("did you mean `{}`?", origin.spell(&path))
        }
        None if known.is_empty() => "there are no keys here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;
