use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;

use super::Accepted;
use super::admit::{Admit, Secrets};
use crate::config::Secret;
use crate::tls::{self, FromFiles, Mutual};

/// A secret can be tried out over the network; a shorter one could be found.
const SECRET_BYTES_MIN: usize = 16;

/// How nodes know one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node's certificate chain (PEM), shown to clients and to servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Authorities, one of which must have signed the certificate of every
    /// other node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name that the certificates of all nodes carry. Unset: the host under
    /// which a node is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Carried by every call, at least 16 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// File with such secrets, one per line: the first is sent, each is
    /// accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Serve other machines although nothing tells nodes from strangers.
    pub allow_plaintext: bool,
    /// How often the certificates' files are looked at for changes.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
    /// Time for a TLS handshake.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cert_file: None,
            key_file: None,
            ca_file: None,
            server_name: None,
            secret: None,
            secret_file: None,
            allow_plaintext: false,
            reload_interval: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// The operator's to correct, all of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Some of the three files are set and some are not.
    #[error("trust.cert_file, trust.key_file and trust.ca_file go together")]
    Incomplete,
    /// A certificate, a key or an authority cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Neither a host name nor an address.
    #[error("trust.server_name: {0:?} is no name of a server")]
    ServerName(String),
    /// Both keys are set.
    #[error("trust.secret and trust.secret_file are both set: choose one")]
    TwoSecrets,
    /// The file cannot be read.
    #[error("trust.secret_file {path}: {source}")]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none, or it is too short, or does not fit into a header.
    #[error(
        "trust.secret: a secret has at least {SECRET_BYTES_MIN} bytes, all of them visible ASCII"
    )]
    Secret,
    /// Strangers would be served.
    #[error(
        "other machines can reach {0}, and nothing tells nodes from strangers: \
         set trust.cert_file, trust.key_file and trust.ca_file, or trust.secret_file, \
         or bind to a loopback address, or, on a network where all are trusted \
         (goim peers need it), set trust.allow_plaintext = true"
    )]
    Open(SocketAddr),
}

/// How nodes know one another: certificates of one authority, a shared secret,
/// both, or nothing at all. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Trust(Arc<State>);

#[derive(Debug, Default)]
struct State {
    tls: Option<NodeTls>,
    secrets: Option<Arc<Secrets>>,
    allow_plaintext: bool,
}

#[derive(Debug)]
struct NodeTls {
    mutual: Arc<FromFiles<Mutual>>,
    server_name: Option<ServerName<'static>>,
    reload_interval: Duration,
    handshake_timeout: Duration,
}

impl Trust {
    /// Reads the files that `config` names.
    pub fn load(config: &Config) -> Result<Self, Error> {
        Ok(Self(Arc::new(State {
            tls: NodeTls::load(config)?,
            secrets: load_secrets(config)?.map(Arc::new),
            allow_plaintext: config.allow_plaintext,
        })))
    }

    /// Refuses an address that other machines can reach when nothing tells
    /// nodes from strangers and that is not allowed explicitly.
    pub fn check_bind(&self, address: SocketAddr) -> Result<(), Error> {
        let state = &*self.0;
        let is_closed = state.tls.is_some() || state.secrets.is_some();
        if is_closed || state.allow_plaintext || address.ip().to_canonical().is_loopback() {
            Ok(())
        } else {
            Err(Error::Open(address))
        }
    }

    /// A connection that a gRPC listener has accepted: as it is, or with TLS
    /// around it. Returns at once; the handshake is part of the first read.
    pub fn accept<IO>(&self, io: IO) -> Accepted<IO>
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin,
    {
        match &self.0.tls {
            None => Accepted::plain(io),
            Some(tls) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls.mutual.current().server));
                Accepted::tls(io, &acceptor, tls.handshake_timeout)
            }
        }
    }

    /// Lets pass only calls with the secret, if there is one.
    pub fn layer(&self) -> Admit {
        Admit::new(self.0.secrets.clone())
    }

    /// Looks at the certificates' files until it is dropped, and takes them over
    /// when they have changed: for connections made from then on.
    pub async fn watch(&self) -> Infallible {
        match &self.0.tls {
            Some(tls) => tls.mutual.watch(tls.reload_interval).await,
            None => std::future::pending().await,
        }
    }

    /// What a call carries to be let pass.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        Some(self.0.secrets.as_ref()?.authorization())
    }

    /// For the next connection to `host`: how to speak TLS, and whom to expect.
    pub(super) fn connector(
        &self,
        host: &str,
    ) -> Option<Result<(TlsConnector, ServerName<'static>), Error>> {
        let tls = self.0.tls.as_ref()?;
        let name = match &tls.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        };
        let connector = TlsConnector::from(Arc::clone(&tls.mutual.current().client));
        Some(name.map(|name| (connector, name)))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.tls.is_some()
    }
}

impl NodeTls {
    fn load(config: &Config) -> Result<Option<Self>, Error> {
        let (cert, key, ca) = match (&config.cert_file, &config.key_file, &config.ca_file) {
            (None, None, None) => return Ok(None),
            (Some(cert), Some(key), Some(ca)) => (cert, key, ca),
            _ => return Err(Error::Incomplete),
        };
        Ok(Some(Self {
            mutual: Mutual::load(cert, key, ca)?,
            server_name: config.server_name.as_deref().map(server_name).transpose()?,
            reload_interval: config.reload_interval,
            handshake_timeout: config.handshake_timeout,
        }))
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| Error::ServerName(name.to_owned()))
}

fn load_secrets(config: &Config) -> Result<Option<Secrets>, Error> {
    let text = match (&config.secret, &config.secret_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Error::TwoSecrets),
        (Some(secret), None) => secret.expose().to_owned(),
        (None, Some(path)) => fs::read_to_string(path).map_err(|source| Error::SecretFile {
            path: path.clone(),
            source,
        })?,
    };
    let secrets: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let is_usable = |secret: &&str| {
        secret.len() >= SECRET_BYTES_MIN && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secrets.is_empty() || !secrets.iter().all(is_usable) {
        return Err(Error::Secret);
    }
    Ok(Some(Secrets::new(&secrets)))
}

#[cfg(test)]
mod tests;
