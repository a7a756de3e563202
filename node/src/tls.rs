//! TLS for servers: certificates from files, reloaded when the files change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

mod files;
mod mutual;
mod pair;

pub(crate) use files::FromFiles;
pub(crate) use mutual::Mutual;
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
    #[error("{path}: {source}")]
    Authority {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The certificates that are in force.
#[derive(Debug)]
pub struct Tls(Arc<FromFiles<ServerConfig>>);

impl Tls {
    /// Reads the files.
    pub fn load(files: &Files) -> Result<Arc<Self>, Error> {
        let watched = files.cert.iter().chain(&files.key).cloned().collect();
        let files = files.clone();
        let current = FromFiles::load(watched, move || server_config(&files))?;
        Ok(Arc::new(Self(current)))
    }

    /// For the next handshake: holds the certificates that are in force now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current())
    }

    /// Looks at the files every `interval` and takes them over when they have
    /// changed, until the token is cancelled. Connections that are open keep
    /// theirs. Files that cannot be used are logged once and tried again, while
    /// the certificates in force stay.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(self.0.watch(interval)).await;
    }
}

fn server_config(files: &Files) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pairs = Pairs::load(files, &provider)?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports the default versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(pairs)))
}

#[cfg(test)]
mod tests;
