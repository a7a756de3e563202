//! Says who a client is.
//!
//! Whatever the way, the outcome is an [`Identity`] or an [`AuthError`]. Tokens
//! and cookies appear in neither, nor in any log.

mod grant;
mod insecure;
mod jwt;
mod webhook;

use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use halley_proto::halley::node::Grant;
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};

use self::jwt::Jwt;
use self::webhook::Webhook;
use crate::config::{AuthConfig, AuthMode};
use crate::metrics::Metrics;

/// The configured way to authenticate.
#[derive(Debug)]
pub(crate) enum Auth {
    /// A client is who it says it is.
    Insecure,
    /// A signed token says who the client is.
    Jwt(Box<Jwt>),
    /// Another service says who the client is.
    Webhook(Box<Webhook>),
}

/// What a client shows.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    /// The comet it connected to.
    pub(crate) server: &'a str,
    /// Cookies of its WebSocket handshake.
    pub(crate) cookie: &'a str,
    /// Body of its login packet.
    pub(crate) token: &'a [u8],
}

/// Who a client is and what it may do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    /// The user; not above 0 is anonymous.
    pub(crate) mid: i64,
    pub(crate) key: Key,
    /// First room; empty for none.
    pub(crate) room_id: String,
    /// Operations it is subscribed to from the start.
    pub(crate) accepts: Vec<i32>,
    /// `None`: everything, for ever.
    pub(crate) grant: Option<Grant>,
}

/// The name of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A connection of this name replaces an earlier one.
    Given(String),
    /// A name of its own for each connection, after this prefix.
    Fresh(String),
}

/// Why a client was not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// The client's fault: what it sent is not a login.
    #[error("login is malformed: {0}")]
    Malformed(&'static str),
    /// The client's fault: it may not log in, or not so.
    #[error("login is refused: {0}")]
    Refused(&'static str),
    /// Nobody could tell: the client may try again.
    #[error("authentication is unavailable: {0}")]
    Unavailable(&'static str),
}

impl Auth {
    /// Reads the keys that the configuration names.
    pub(crate) fn new(config: &AuthConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        match config.mode {
            AuthMode::Insecure => {
                tracing::warn!(
                    "authentication is insecure: every client is who it says it is; \
                     set logic.auth.mode to jwt or webhook before anyone else can connect"
                );
                Ok(Self::Insecure)
            }
            AuthMode::Jwt => Ok(Self::Jwt(Box::new(Jwt::new(&config.jwt)?))),
            AuthMode::Webhook => {
                let webhook = Webhook::new(&config.webhook, metrics).context("set up webhook")?;
                Ok(Self::Webhook(Box::new(webhook)))
            }
        }
    }

    /// Reads the keys that the configuration names, to find out whether it can.
    pub(crate) fn check_files(config: &AuthConfig) -> anyhow::Result<()> {
        match config.mode {
            AuthMode::Jwt => Jwt::new(&config.jwt).map(drop),
            AuthMode::Insecure | AuthMode::Webhook => Ok(()),
        }
    }

    /// Says who a client is.
    pub(crate) async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Identity, AuthError> {
        match self {
            Self::Insecure => insecure::authenticate(credentials),
            Self::Jwt(jwt) => jwt.authenticate(credentials),
            Self::Webhook(webhook) => webhook.authenticate(credentials).await,
        }
    }

    /// Keeps the keys up to date until `end` is cancelled.
    pub(crate) async fn watch(&self, end: &CancellationToken) {
        match self {
            Self::Jwt(jwt) => jwt.watch(end).await,
            Self::Insecure | Self::Webhook(_) => end.cancelled().await,
        }
    }
}

impl Key {
    /// The name for one connection. With a `seed` that nobody else has, it is the
    /// same for whoever asks again.
    pub(crate) fn into_name(self, seed: Option<&[u8]>) -> String {
        match (self, seed) {
            (Self::Given(name), _) => name,
            (Self::Fresh(prefix), Some(seed)) => {
                let digest = digest(&SHA256, seed);
                let mut uuid = [0; 16];
                uuid.copy_from_slice(&digest.as_ref()[..16]);
                format!("{prefix}{}", Builder::from_custom_bytes(uuid).into_uuid())
            }
            (Self::Fresh(prefix), None) => format!("{prefix}{}", Uuid::new_v4()),
        }
    }

    /// The name if it is the same for every connection.
    pub(crate) fn into_given(self) -> Option<String> {
        match self {
            Self::Given(name) => Some(name),
            Self::Fresh(_) => None,
        }
    }
}
