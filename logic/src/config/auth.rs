use std::path::PathBuf;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use serde::{Deserialize, Serialize};

use super::{ConfigError, lasting, positive, require};

/// How clients are authenticated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Which way is used.
    pub mode: AuthMode,
    /// The mode `insecure`.
    pub insecure: InsecureConfig,
    /// The mode `jwt`.
    pub jwt: JwtConfig,
    /// The mode `webhook`.
    pub webhook: WebhookConfig,
}

/// The ways to authenticate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A client is who it says it is, as in goim.
    #[default]
    Insecure,
    /// A signed token says who the client is.
    Jwt,
    /// Another service says who the client is.
    Webhook,
}

/// Trusts every client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InsecureConfig {
    /// Allows it behind addresses that other machines reach.
    pub allow_public: bool,
}

/// Takes signed tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// File with the one key: a public key as PEM, or a shared secret as it
    /// stands. Either this or `jwks_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// File with a JSON Web Key Set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Algorithms taken; each only with a key of its own type. Empty takes
    /// all of them.
    pub algorithms: Vec<Algorithm>,
    /// The `iss` that tokens must have; empty takes any.
    pub issuer: String,
    /// The `aud` that tokens must have; empty takes only tokens without one.
    pub audience: String,
    /// Refuses tokens that never expire.
    pub require_expiry: bool,
    /// How far clocks may be apart: a token is taken, and a connection kept,
    /// that long after the token's expiry.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// How often the file is looked at for a change. A changed one is read
    /// again; the keys of before stay while it cannot be used.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Signature algorithms of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            key_file: None,
            jwks_file: None,
            algorithms: Vec::new(),
            issuer: String::new(),
            audience: String::new(),
            require_expiry: true,
            leeway: Duration::from_secs(5),
            reload_interval: Duration::from_secs(5),
        }
    }
}

/// Asks another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// The URL, `http` or `https`; redirects are not followed.
    pub url: String,
    /// Time in which one attempt must be answered.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Further attempts when the service cannot be reached or fails.
    pub retries_max: u32,
    /// Further attempts of all logins, in percent of those of the last ten
    /// seconds.
    pub retry_percent_max: u32,
    /// Further attempts within ten seconds that are allowed however few logins
    /// there are.
    pub retries_min: u32,
    /// Pauses before further attempts.
    pub backoff: Backoff,
    /// Requests at a time; further logins are refused.
    pub concurrent_max: usize,
    /// Bytes of an answer.
    pub answer_bytes_max: usize,
    /// How long an identity is remembered; 0s remembers none.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
    /// How long a refusal is remembered; 0s remembers none.
    #[serde(with = "humantime_serde")]
    pub refusal_ttl: Duration,
    /// Answers remembered at a time.
    pub cache_entries_max: u64,
    /// Failed requests in a row that open the circuit breaker.
    pub breaker_failures_max: u32,
    /// How long an open breaker refuses every login without asking.
    #[serde(with = "humantime_serde")]
    pub breaker_open: Duration,
    /// Requests at a time that try whether the service works again.
    pub breaker_probes_max: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            timeout: Duration::from_secs(1),
            retries_max: 1,
            retry_percent_max: 10,
            retries_min: 10,
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_millis(500),
            },
            concurrent_max: 1024,
            answer_bytes_max: 64 * 1024,
            cache_ttl: Duration::from_secs(10),
            refusal_ttl: Duration::from_secs(1),
            cache_entries_max: 100_000,
            breaker_failures_max: 20,
            breaker_open: Duration::from_secs(5),
            breaker_probes_max: 3,
        }
    }
}

impl AuthConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.mode {
            AuthMode::Insecure => Ok(()),
            AuthMode::Jwt => self.jwt.check(),
            AuthMode::Webhook => self.webhook.check(),
        }
    }
}

impl JwtConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let is_one = self.key_file.is_some() != self.jwks_file.is_some();
        require(
            is_one,
            "auth.jwt",
            "needs either key_file or jwks_file, and not both",
        )?;
        lasting("auth.jwt.reload_interval", self.reload_interval)
    }
}

impl WebhookConfig {
    fn check(&self) -> Result<(), ConfigError> {
        require(!self.url.is_empty(), "auth.webhook.url", "is missing")?;
        lasting("auth.webhook.timeout", self.timeout)?;
        positive("auth.webhook.concurrent_max", self.concurrent_max)?;
        positive("auth.webhook.answer_bytes_max", self.answer_bytes_max)?;
        positive(
            "auth.webhook.breaker_failures_max",
            self.breaker_failures_max as usize,
        )?;
        positive(
            "auth.webhook.breaker_probes_max",
            self.breaker_probes_max as usize,
        )
    }
}
