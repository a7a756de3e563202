//! Signed tokens.
//!
//! A login is either the bare token, or goim's JSON with the token in its field
//! `token`. In the latter `room_id`, `key` and `accepts` are wishes: what the
//! claims do not allow is not granted, and `mid` is ignored, since only the
//! claims say who the user is.
//!
//! A client cannot name its connection after another user's, which would close
//! that one: the name is the claim `key` if there is one, and otherwise the
//! user's number, a colon, and the client's wish (or something random).

mod claims;
mod keys;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use halley_wire::auth::AuthBody;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use tokio_util::sync::CancellationToken;

use self::claims::Claims;
use self::keys::{KeyFile, Keys};
use super::{AuthError, Credentials, Identity};
use crate::config::JwtConfig;

/// Takes signed tokens.
pub(crate) struct Jwt {
    file: KeyFile,
    /// Of the file when it was read first.
    version: Version,
    keys: ArcSwap<Keys>,
    config: JwtConfig,
}

impl Jwt {
    /// Reads the keys.
    pub(super) fn new(config: &JwtConfig) -> anyhow::Result<Self> {
        let file = match (&config.jwks_file, &config.key_file) {
            (Some(file), _) => KeyFile::Set(file.clone()),
            (None, Some(file)) => KeyFile::One(file.clone()),
            (None, None) => anyhow::bail!("auth.jwt names no key"),
        };
        let version = version(file.path());
        let keys = Keys::read(&file, &config.algorithms)
            .with_context(|| format!("read {}", file.path().display()))?;
        Ok(Self {
            file,
            version,
            keys: ArcSwap::from_pointee(keys),
            config: config.clone(),
        })
    }

    pub(super) fn authenticate(&self, credentials: Credentials<'_>) -> Result<Identity, AuthError> {
        let body = credentials.token.trim_ascii();
        // A token in compact form never begins so.
        if !body.starts_with(b"{") {
            return self
                .verify(body)?
                .identity(&AuthBody::default(), &self.config);
        }
        let wishes = AuthBody::parse(body).map_err(|_| AuthError::Malformed("not goim's json"))?;
        let token = wishes
            .token
            .as_deref()
            .ok_or(AuthError::Malformed("no token"))?;
        self.verify(token.as_bytes())?
            .identity(&wishes, &self.config)
    }

    /// Reads the keys again whenever their file changes, until `end` is
    /// cancelled. Keys that cannot be used change nothing.
    pub(super) async fn watch(&self, end: &CancellationToken) {
        let path = self.file.path();
        let mut seen = self.version;
        let mut ticks = tokio::time::interval(self.config.reload_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = version(path);
            if now == seen {
                continue;
            }
            seen = now;
            match Keys::read(&self.file, &self.config.algorithms) {
                Ok(keys) => {
                    tracing::info!(file = %path.display(), keys = keys.len(), "jwt keys read again");
                    self.keys.store(keys.into());
                }
                Err(error) => tracing::error!(
                    file = %path.display(),
                    error = format!("{error:#}"),
                    "jwt keys of before are kept: the changed file cannot be used"
                ),
            }
        }
    }

    /// The claims of a token that one of the keys has signed and that is of
    /// use now.
    fn verify(&self, token: &[u8]) -> Result<Claims, AuthError> {
        let header = decode_header(token).map_err(|_| AuthError::Malformed("not a jwt"))?;
        // An extension that must be understood and is not.
        if header.crit.is_some() {
            return Err(AuthError::Refused("token has critical extensions"));
        }
        let keys = self.keys.load();
        let mut refusal = AuthError::Refused("no key for the token");
        for key in keys.candidates(&header) {
            match decode::<Claims>(token, &key.decoding, &self.validation(&header)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => refusal = refuse(error.kind()),
            }
        }
        Err(refusal)
    }

    /// `header.alg` has been found to be the algorithm of the key.
    fn validation(&self, header: &Header) -> Validation {
        let config = &self.config;
        let mut validation = Validation::new(header.alg);
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.required_spec_claims.clear();
        let mut require = |claim: &str| {
            validation.required_spec_claims.insert(claim.to_owned());
        };
        if config.require_expiry {
            require("exp");
        }
        if !config.issuer.is_empty() {
            require("iss");
            validation.set_issuer(&[&config.issuer]);
        }
        if !config.audience.is_empty() {
            validation.required_spec_claims.insert("aud".to_owned());
            validation.set_audience(&[&config.audience]);
        }
        validation
    }
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt")
            .field("file", &self.file)
            .field("keys", &self.keys.load().len())
            .finish_non_exhaustive()
    }
}

/// Changes whenever a file does; `None` while there is none.
type Version = Option<(SystemTime, u64)>;

fn version(path: &Path) -> Version {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named here is the token's own shape, and the enum grows"
)]
fn refuse(kind: &ErrorKind) -> AuthError {
    AuthError::Refused(match kind {
        ErrorKind::ExpiredSignature => "token has expired",
        ErrorKind::ImmatureSignature => "token is not valid yet",
        ErrorKind::InvalidIssuer => "token is of another issuer",
        ErrorKind::InvalidAudience => "token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "token lacks a required claim",
        ErrorKind::InvalidSignature => "signature is wrong",
        ErrorKind::Json(_) => "claims have a wrong type",
        _ => "token is invalid",
    })
}

#[cfg(test)]
mod tests;
