//! Keeps one connection, and makes another when it broke.

use std::time::Duration;

use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::io::tcp::TcpSettings;
use ::redis::io::tcp::socket2::TcpKeepalive;
use ::redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, RedisError};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::link::{Link, To};
use super::{Config, ConfigError, Unavailable};

/// Attempts at one command of a cluster, which redirects those that it moved.
const CLUSTER_RETRIES: u32 = 3;

/// Response timeouts after which a host that acknowledges nothing is gone.
const SILENT_TIMEOUTS: u32 = 2;
/// The least silence that counts: lost packets are sent again within it, and the
/// kernel probes in whole seconds.
const SILENCE_MIN: Duration = Duration::from_secs(1);

const BROKEN_AT_ONCE: &str = "the connection to redis broke as soon as it was made";

/// Makes connections, one at a time.
pub(super) struct Dialer {
    config: Config,
    target: Target,
    current: Mutex<Option<Link>>,
    attempts: tokio::sync::Mutex<Attempts>,
}

enum Target {
    Server(Box<(Client, AsyncConnectionConfig)>),
    Cluster(Box<ClusterClient>),
}

/// How the last attempts went.
#[derive(Default)]
struct Attempts {
    made: u64,
    failures: u32,
    /// Why the next must wait, and until when.
    pause: Option<(String, Instant)>,
}

impl Dialer {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            target: Target::new(config)?,
            config: config.clone(),
            current: Mutex::default(),
            attempts: tokio::sync::Mutex::default(),
        })
    }

    /// The connection, made if there is none. Those who come while it is being
    /// made wait for the one attempt.
    pub(super) async fn link(&self) -> Result<Link, Unavailable> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if let Some((error, until)) = &attempts.pause
            && Instant::now() < *until
        {
            return Err(Unavailable(error.clone()));
        }
        attempts.made += 1;
        let made = timeout(self.config.connect_timeout, self.target.dial()).await;
        let error = match made {
            Ok(Ok(to)) => {
                let link = Link::new(attempts.made, to);
                *self.current.lock() = Some(link.clone());
                if std::mem::take(&mut attempts.failures) > 0 {
                    tracing::info!("redis is back");
                }
                // One that breaks as soon as it is made must not be made without end.
                let until = Instant::now() + self.config.reconnect.pause(1);
                attempts.pause = Some((BROKEN_AT_ONCE.to_owned(), until));
                return Ok(link);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {:?}", self.config.connect_timeout),
        };
        if attempts.failures == 0 {
            tracing::warn!(%error, "redis cannot be reached");
        }
        attempts.failures = attempts.failures.saturating_add(1);
        let until = Instant::now() + self.config.reconnect.pause(attempts.failures);
        attempts.pause = Some((error.clone(), until));
        Err(Unavailable(error))
    }

    /// Gives up the connection `id`, unless another has taken its place.
    pub(super) fn discard(&self, id: u64) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|link| link.id() == id) {
            *current = None;
        }
    }

    fn current(&self) -> Option<Link> {
        self.current.lock().clone()
    }
}

impl Target {
    fn new(config: &Config) -> Result<Self, ConfigError> {
        let password = password(config)?;
        let servers: Result<Vec<_>, _> = config
            .urls
            .iter()
            .map(|url| server(url, password.as_deref(), tcp_settings(config)))
            .collect();
        let mut servers = servers.map_err(|error| invalid(false, &error))?;
        let has_tls = config.urls.secure() > 0;
        let certificates = has_tls.then(|| config.tls.certificates()).transpose()?;
        if config.cluster {
            let mut builder = ClusterClientBuilder::new(servers)
                .connection_timeout(config.connect_timeout)
                .response_timeout(config.response_timeout)
                .retries(CLUSTER_RETRIES)
                .connection_concurrency_limit(config.in_flight_max)
                .tcp_settings(tcp_settings(config));
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            let client = builder.build().map_err(|error| invalid(has_tls, &error))?;
            return Ok(Self::Cluster(Box::new(client)));
        }
        let server = servers.pop().expect("invariant: checked to be one");
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(server, certificates),
            None => Client::open(server),
        };
        let client = client.map_err(|error| invalid(has_tls, &error))?;
        // The timeouts are kept outside, where they include every wait.
        let options = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(config.in_flight_max);
        Ok(Self::Server(Box::new((client, options))))
    }

    async fn dial(&self) -> Result<To, RedisError> {
        match self {
            Self::Server(server) => {
                let (client, options) = &**server;
                let connection = client.get_multiplexed_async_connection_with_config(options);
                connection.await.map(To::Server)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(To::Cluster),
        }
    }
}

fn password(config: &Config) -> Result<Option<String>, ConfigError> {
    let Some(file) = &config.password_file else {
        return Ok(None);
    };
    std::fs::read_to_string(file)
        .map(|password| Some(password.trim_end().to_owned()))
        .map_err(|source| ConfigError::File {
            file: file.clone(),
            source,
        })
}

fn server(
    url: &str,
    password: Option<&str>,
    settings: TcpSettings,
) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?.set_tcp_settings(settings);
    Ok(match password {
        Some(password) => {
            let settings = info.redis_settings().clone().set_password(password);
            info.set_redis_settings(settings)
        }
        None => info,
    })
}

/// A command goes out at once, though others are not answered yet. The kernel
/// breaks the connection to a host that vanished: of a cluster's masters, commands
/// that time out do not tell which one is dead.
fn tcp_settings(config: &Config) -> TcpSettings {
    let silence = config.response_timeout.saturating_mul(SILENT_TIMEOUTS);
    let silence = silence.max(SILENCE_MIN);
    let probes = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(SILENCE_MIN);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(probes);
    with_user_timeout(settings, silence)
}

#[cfg(target_os = "linux")]
fn with_user_timeout(settings: TcpSettings, silence: Duration) -> TcpSettings {
    settings.set_user_timeout(silence)
}

/// Other kernels have their own time for what is sent and not acknowledged.
#[cfg(not(target_os = "linux"))]
fn with_user_timeout(settings: TcpSettings, _: Duration) -> TcpSettings {
    settings
}

/// The URLs are wrong, or, if they are of servers with TLS, what its files hold.
fn invalid(has_tls: bool, error: &RedisError) -> ConfigError {
    ConfigError::Invalid {
        key: if has_tls { "tls" } else { "urls" },
        problem: format!("cannot be used: {error}"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_vanished_breaks_its_connection() {
        for (timeout_ms, silence_ms) in [(1, 1000), (1500, 3000)] {
            let settings = tcp_settings(&Config {
                response_timeout: Duration::from_millis(timeout_ms),
                ..Config::default()
            });

            assert!(settings.keepalive().is_some());
            assert_eq!(
                settings.user_timeout(),
                Some(Duration::from_millis(silence_ms))
            );
        }
    }
}
