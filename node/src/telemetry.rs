//! Structured logs.

use std::io::{self, IsTerminal as _};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is logged, and how it looks. Logs go to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or directives such as
    /// `info,halley_comet=debug`.
    pub filter: String,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `Pretty` on a terminal, `Json` elsewhere.
    #[default]
    Auto,
    /// One line for people.
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operator's: the filter cannot be understood.
    #[error("log filter {filter:?}: {source}")]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    /// The program's: logging was set up before.
    #[error("set up logging: {0}")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Auto,
        }
    }
}

impl Config {
    /// Checks the filter without setting anything up.
    pub fn check(&self) -> Result<(), Error> {
        self.env_filter().map(drop)
    }

    fn env_filter(&self) -> Result<EnvFilter, Error> {
        EnvFilter::builder()
            .parse(&self.filter)
            .map_err(|source| Error::Filter {
                filter: self.filter.clone(),
                source,
            })
    }
}

/// Sets up logging for the whole process, once.
pub fn init(config: &Config) -> Result<(), Error> {
    let terminal = io::stderr().is_terminal();
    let pretty = match config.format {
        Format::Auto => terminal,
        Format::Pretty => true,
        Format::Json => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.env_filter()?)
        .with_writer(io::stderr);
    if pretty {
        builder
            .with_ansi(terminal)
            .with_target(false)
            .finish()
            .try_init()?;
    } else {
        builder.json().flatten_event(true).finish().try_init()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn filters_are_checked() {
        let mut config = Config::default();
        config.check().expect("default filter");

        config.filter = "info,halley_comet=debug".to_owned();
        config.check().expect("directives");

        config.filter = "halley=loud".to_owned();
        let error = config.check().expect_err("no such level");
        assert!(error.to_string().contains("halley=loud"), "{error}");
    }
}
