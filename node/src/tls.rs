//! TLS for servers: certificates from files, reloaded when the files change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde::{Deserialize, Serialize};
use tokio::task;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

mod pair;

use pair::Pairs;

/// PEM files, in pairs: the first key belongs to the first certificate chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// Certificate chains, the leaf first. A client that names a server gets the
    /// first chain whose leaf is valid for the name, any other client the first.
    pub cert: Vec<PathBuf>,
    /// Private keys (PKCS #8, PKCS #1 or SEC 1).
    pub key: Vec<PathBuf>,
}

/// The operator's to correct, all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("no certificate is configured")]
    Nothing,
    #[error("{certs} certificate files and {keys} key files: they go in pairs")]
    Unpaired { certs: usize, keys: usize },
    #[error("{path}: {source}")]
    Pem {
        path: PathBuf,
        source: rustls_pki_types::pem::Error,
    },
    #[error("{path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("{cert} and {key}: {source}")]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

/// The certificates that are in force.
pub struct Tls {
    files: Files,
    current: ArcSwap<ServerConfig>,
    /// What the files looked like just before they were read for the first time.
    stamp: Stamp,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &Files) -> Result<Arc<Self>, Error> {
        let stamp = Stamp::of(files);
        let current = server_config(files)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            current: ArcSwap::new(current),
            stamp,
        }))
    }

    /// For the next handshake: holds the certificates that are in force now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Looks at the files every `interval` and takes them over when they have
    /// changed, until the token is cancelled. Connections that are open keep
    /// theirs. Files that cannot be used are logged once and tried again, while
    /// the certificates in force stay.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        let mut in_force = self.stamp.clone();
        let mut refused = None;
        let tick = || tokio::time::sleep(interval);
        while stop.run_until_cancelled(tick()).await.is_some() {
            let files = self.files.clone();
            let known = in_force.clone();
            let read = task::spawn_blocking(move || {
                let stamp = Stamp::of(&files);
                (stamp != known).then(|| (stamp, server_config(&files)))
            });
            match read.await {
                Ok(None) => refused = None,
                Ok(Some((stamp, Ok(config)))) => {
                    self.current.store(config);
                    in_force = stamp;
                    refused = None;
                    info!(cert = ?self.files.cert, "certificates reloaded");
                }
                Ok(Some((stamp, Err(error)))) => {
                    if refused.as_ref() != Some(&stamp) {
                        warn!(%error, "changed certificates not usable, keeping the old ones");
                        refused = Some(stamp);
                    }
                }
                Err(error) => warn!(%error, "look at certificate files"),
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn server_config(files: &Files) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pairs = Pairs::load(files, &provider)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports the default versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(pairs));
    Ok(Arc::new(config))
}

/// What tells that a file may have changed, for each of them. Symbolic links are
/// followed: that is how mounted secrets are exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    fn of(files: &Files) -> Self {
        let stamp = |path: &PathBuf| look(path).ok();
        Self(files.cert.iter().chain(&files.key).map(stamp).collect())
    }
}

fn look(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

#[cfg(test)]
mod tests;
