//! Everything that can be configured of logic.

mod auth;
mod limit;
mod nodes;
mod secrets;
mod sink;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::auth::{Algorithm, AuthConfig, AuthMode, InsecureConfig, JwtConfig, WebhookConfig};
pub use self::limit::LimitConfig;
pub use self::nodes::{BackoffConfig, NodesConfig};
pub use self::secrets::Secrets;
pub use self::sink::{SinkConfig, SinkKafkaConfig, SinkMode, SinkWebhookConfig};
use crate::nodes::Network;

/// Logic's part of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the node in the whole system; empty: the host's name.
    pub server: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Deployment environment.
    pub env: String,
    /// Share of the comets' calls, relative to other nodes.
    pub weight: i64,
    /// The HTTP API.
    pub http: HttpConfig,
    /// The gRPC service.
    pub rpc: RpcConfig,
    /// How clients are authenticated.
    pub auth: AuthConfig,
    /// The node list and the advice that goes with it.
    pub nodes: NodesConfig,
    /// The members of each room.
    pub online: OnlineConfig,
    /// How much is taken on at a time.
    pub limit: LimitConfig,
    /// What one push may ask for.
    pub push: PushConfig,
    /// Where messages from clients go.
    pub sink: SinkConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: String::new(),
            region: String::new(),
            zone: String::new(),
            env: String::new(),
            weight: 10,
            http: HttpConfig::default(),
            rpc: RpcConfig::default(),
            auth: AuthConfig::default(),
            nodes: NodesConfig::default(),
            limit: LimitConfig::default(),
            online: OnlineConfig::default(),
            push: PushConfig::default(),
            sink: SinkConfig::default(),
        }
    }
}

/// The HTTP listener and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address of the listener; port 0 picks a free one.
    pub bind: SocketAddr,
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Time in which a request's head must arrive.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Bytes of a request's head, at least 8192.
    pub head_bytes_max: usize,
    /// Time in which a request must be read and answered.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time in which a peer must take some of an answer.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// Bytes of a request's body, which is the message of a push.
    pub body_bytes_max: usize,
    /// Keys, one of which a push must carry as `Authorization: Bearer`. None
    /// here and in `keys_file` opens the push API to everyone.
    pub keys: Secrets,
    /// File with further such keys, one per line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Serves the page `/demo`.
    pub demo: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 3111)),
            connections_max: 4096,
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 128 * 1024,
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            body_bytes_max: 1024 * 1024,
            keys: Secrets::default(),
            keys_file: None,
            trusted_proxies: Vec::new(),
            demo: true,
        }
    }
}

/// The gRPC listener and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcConfig {
    /// Address of the listener; port 0 picks a free one.
    pub bind: SocketAddr,
    /// `host:port` under which comets reach it; empty: that of the listener.
    pub advertise: String,
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Calls at a time on one connection.
    pub streams_max: u32,
    /// Bytes of one message in either direction, decompressed.
    pub message_bytes_max: usize,
    /// Time in which a call must be answered, unless its caller gave it less.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time in which a peer must take some of an answer.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// Silence after which a connection is asked whether it still lives.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// Time in which it must answer that.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 3119)),
            advertise: String::new(),
            connections_max: 1024,
            streams_max: 10_000,
            message_bytes_max: 16 * 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            // What a job holds that is cut off must come back while it can still be
            // delivered.
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// The members of each room, over all comets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnlineConfig {
    /// How old the numbers may be that a question is answered with.
    #[serde(with = "humantime_serde")]
    pub fresh: Duration,
}

impl Default for OnlineConfig {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(1),
        }
    }
}

/// What one push may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// Keys or users in one push.
    pub targets_max: usize,
    /// Keys, users and messages to others in one batch.
    pub batch_targets_max: usize,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            targets_max: 10_000,
            batch_targets_max: 20_000,
        }
    }
}

/// Why a configuration is refused; the operator must change it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key has a value that logic cannot work with.
    #[error("{key} {problem}")]
    Invalid {
        /// The key, as it is written in the file below `logic`.
        key: &'static str,
        /// What is wrong with its value.
        problem: &'static str,
    },
    /// Insecure authentication would be reachable from other machines.
    #[error(
        "auth.mode = \"insecure\" lets anyone be any user, and {0} is open to other machines: \
         choose jwt or webhook, bind to a loopback address, \
         or set auth.insecure.allow_public = true"
    )]
    InsecurePublic(SocketAddr),
}

impl Config {
    /// Checks what the types cannot: that no limit is zero, and that the chosen
    /// modes have what they need.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.http.check()?;
        self.rpc.check()?;
        self.auth.check()?;
        self.limit.check()?;
        self.nodes.check()?;
        self.sink.check()?;
        positive("push.targets_max", self.push.targets_max)?;
        positive("push.batch_targets_max", self.push.batch_targets_max)?;
        self.check_public(&[self.http.bind, self.rpc.bind])
    }

    /// Refuses insecure authentication behind addresses that other machines
    /// reach: to be asked for every listener whose clients logic authenticates.
    pub fn check_public(&self, binds: &[SocketAddr]) -> Result<(), ConfigError> {
        if self.auth.mode != AuthMode::Insecure || self.auth.insecure.allow_public {
            return Ok(());
        }
        match binds
            .iter()
            .find(|bind| !bind.ip().to_canonical().is_loopback())
        {
            Some(bind) => Err(ConfigError::InsecurePublic(*bind)),
            None => Ok(()),
        }
    }
}

impl HttpConfig {
    fn check(&self) -> Result<(), ConfigError> {
        positive("http.connections_max", self.connections_max)?;
        positive("http.body_bytes_max", self.body_bytes_max)?;
        lasting("http.head_timeout", self.head_timeout)?;
        lasting("http.request_timeout", self.request_timeout)?;
        lasting("http.write_timeout", self.write_timeout)?;
        // hyper panics below its own minimum.
        if self.head_bytes_max < 8192 {
            return Err(ConfigError::Invalid {
                key: "http.head_bytes_max",
                problem: "must be at least 8192",
            });
        }
        Ok(())
    }
}

impl RpcConfig {
    fn check(&self) -> Result<(), ConfigError> {
        positive("rpc.connections_max", self.connections_max)?;
        positive("rpc.message_bytes_max", self.message_bytes_max)?;
        positive("rpc.streams_max", self.streams_max as usize)?;
        lasting("rpc.request_timeout", self.request_timeout)?;
        lasting("rpc.write_timeout", self.write_timeout)?;
        lasting("rpc.keepalive_interval", self.keepalive_interval)?;
        lasting("rpc.keepalive_timeout", self.keepalive_timeout)
    }
}

fn positive(key: &'static str, value: usize) -> Result<(), ConfigError> {
    require(value > 0, key, "must be above 0")
}

fn lasting(key: &'static str, value: Duration) -> Result<(), ConfigError> {
    require(!value.is_zero(), key, "must be longer than nothing")
}

fn require(is_met: bool, key: &'static str, problem: &'static str) -> Result<(), ConfigError> {
    if is_met {
        Ok(())
    } else {
        Err(ConfigError::Invalid { key, problem })
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
    fn insecure_authentication_is_refused_in_public() {
        let mut config = Config::default();
        config.http.bind = "0.0.0.0:0".parse().unwrap();

        assert!(matches!(
            config.check(),
            Err(ConfigError::InsecurePublic(bind)) if bind == config.http.bind
        ));

        config.auth.insecure.allow_public = true;
        config.check().unwrap();
    }

    #[test]
    fn every_bind_is_looked_at() {
        let config = Config::default();
        let loopback: [SocketAddr; 3] =
            ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(|bind| bind.parse().unwrap());

        config.check_public(&loopback).unwrap();
        for public in ["10.0.0.1:1", "[::]:1", "0.0.0.0:1"] {
            let binds = [loopback[0], public.parse().unwrap()];
            assert!(config.check_public(&binds).is_err(), "{public}");
        }
    }

    #[test]
    fn other_modes_may_be_public() {
        let mut config = Config::default();
        config.auth.mode = AuthMode::Jwt;

        config
            .check_public(&["0.0.0.0:1".parse().unwrap()])
            .unwrap();
    }

    #[test]
    fn a_limit_of_zero_is_named() {
        let mut config = Config::default();
        config.http.connections_max = 0;

        assert_eq!(
            config.check().unwrap_err().to_string(),
            "http.connections_max must be above 0"
        );
    }
}
