//! Where Redis is, and how long it is waited for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::tls::TlsConfig;
use crate::backoff::Backoff;

/// What the URL of a server with TLS begins with.
const SECURE: &str = "rediss://";
/// Stands between user and host in place of a password.
const HIDDEN: &str = ":(hidden)@";

/// Where Redis is, and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `redis://[user[:password]@]host[:port][/database]`: of the one server,
    /// or of some masters of a cluster, which name the others. `rediss` instead
    /// of `redis` means TLS.
    pub urls: Urls,
    /// Whether the server is a Redis Cluster.
    pub cluster: bool,
    /// File that holds the password, instead of one in the URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// What TLS goes by.
    pub tls: TlsConfig,
    /// Time in which a connection must be made.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Time in which a command must be answered.
    #[serde(with = "humantime_serde")]
    pub response_timeout: Duration,
    /// Commands under way at a time, for each server; further ones wait.
    pub in_flight_max: usize,
    /// Pauses between attempts to connect.
    pub reconnect: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            urls: Urls(vec!["redis://127.0.0.1:6379".to_owned()]),
            cluster: false,
            password_file: None,
            tls: TlsConfig::default(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            in_flight_max: 10_000,
            reconnect: Backoff::default(),
        }
    }
}

/// Why a configuration is refused; the operator must change it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key has a value that cannot be worked with.
    #[error("redis.{key} {problem}")]
    Invalid {
        /// The key, as it is written in the file below `redis`.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A file that a key names cannot be read.
    #[error("redis: read {file}")]
    File {
        /// The file as configured.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Config {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key, problem: &str| {
            Err(ConfigError::Invalid {
                key,
                problem: problem.to_owned(),
            })
        };
        match (self.cluster, self.urls.0.len()) {
            (_, 0) => return invalid("urls", "must name a server"),
            (false, 2..) => return invalid("urls", "must be one unless redis.cluster is set"),
            _ => {}
        }
        self.tls.check(self.urls.secure(), self.urls.0.len())?;
        if self.connect_timeout.is_zero() {
            return invalid("connect_timeout", "must be longer than nothing");
        }
        if self.response_timeout.is_zero() {
            return invalid("response_timeout", "must be longer than nothing");
        }
        if self.in_flight_max == 0 {
            return invalid("in_flight_max", "must be above 0");
        }
        Ok(())
    }
}

/// A list of URLs that may hold passwords: written as a list, or as one text
/// with commas between them. Shown, passwords are hidden.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Urls(Vec<String>);

impl Urls {
    /// The URLs with their passwords.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those that ask for TLS.
    pub(super) fn secure(&self) -> usize {
        self.iter().filter(|url| url.starts_with(SECURE)).count()
    }

    fn shown(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|url| without_password(url))
    }
}

impl<S: Into<String>> FromIterator<S> for Urls {
    fn from_iter<I: IntoIterator<Item = S>>(urls: I) -> Self {
        Self(urls.into_iter().map(Into::into).collect())
    }
}

fn without_password(url: &str) -> String {
    let Some((before, host)) = url.rsplit_once('@') else {
        return url.to_owned();
    };
    let user_at = before.find("://").map_or(0, |at| at + 3);
    let (scheme, user) = before.split_at(user_at);
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}{user}{HIDDEN}{host}")
}

impl fmt::Debug for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shown()).finish()
    }
}

impl Serialize for Urls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.shown())
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of URLs")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Urls, E> {
                let urls = text.split(',').map(str::trim);
                Ok(urls.filter(|url| !url.is_empty()).collect())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = list.next_element()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }
        }

        let urls = deserializer.deserialize_any(Visitor)?;
        if let Some(url) = urls.iter().find(|url| url.contains(HIDDEN)) {
            return Err(de::Error::custom(format_args!(
                "{url}: \"(hidden)\" is what is shown in place of a password: give the password itself"
            )));
        }
        Ok(urls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn passwords_are_not_shown() {
        let urls: Urls = [
            "redis://:visible@a:1/0",
            "redis://user:vis@ible@b",
            "redis://c:2",
        ]
        .into_iter()
        .collect();
        let expected = r#"["redis://:(hidden)@a:1/0", "redis://user:(hidden)@b", "redis://c:2"]"#;

        assert_eq!(format!("{urls:?}"), expected);
        let json = serde_json::to_string(&urls).unwrap();
        assert_eq!(json.replace("\",\"", "\", \""), expected);
    }

    #[test]
    fn what_is_shown_in_place_of_a_password_is_none() {
        let urls = serde_json::from_str::<Urls>(r#"["redis://user:(hidden)@a"]"#);

        let error = urls.unwrap_err().to_string();
        assert!(error.contains("give the password itself"), "{error}");
    }

    #[test]
    fn a_list_and_a_text_with_commas_are_the_same() {
        let list: Urls = serde_json::from_str(r#"["redis://a","redis://b"]"#).unwrap();
        let text: Urls = serde_json::from_str(r#""redis://a, redis://b""#).unwrap();

        assert_eq!(list, text);
    }

    #[test]
    fn tls_that_would_not_be_used_is_refused() {
        let tls = TlsConfig {
            ca_file: Some("ca.pem".into()),
            ..TlsConfig::default()
        };
        let half = TlsConfig {
            cert_file: Some("cert.pem".into()),
            ..TlsConfig::default()
        };
        for (urls, tls, refusal) in [
            (
                &["redis://a"][..],
                tls,
                "redis.urls must be rediss:// for redis.tls to mean anything",
            ),
            (
                &["rediss://a"],
                half,
                "redis.tls.cert_file and redis.tls.key_file belong together",
            ),
            (
                &["rediss://a", "redis://b"],
                TlsConfig::default(),
                "redis.urls must all be redis:// or all be rediss://",
            ),
        ] {
            let config = Config {
                urls: urls.iter().copied().collect(),
                cluster: true,
                tls,
                ..Config::default()
            };

            assert_eq!(config.check().unwrap_err().to_string(), refusal);
        }
    }

    #[test]
    fn two_servers_that_are_no_cluster_are_refused() {
        let config = Config {
            urls: ["redis://a", "redis://b"].into_iter().collect(),
            ..Config::default()
        };

        let refused = config.check().unwrap_err().to_string();

        assert_eq!(
            refused,
            "redis.urls must be one unless redis.cluster is set"
        );
    }
}
