//! Whom a client trusts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::TlsConnector;

/// The TLS settings of a link: whose certificates it trusts. The default is what the operating system trusts.
///
/// Cloning is cheap.
#[derive(Clone, Default)]
pub struct TlsOptions {
    config: Option<Arc<ClientConfig>>,
}

/// TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate file cannot be read or holds no certificate.
    #[error("read certificates of {path}: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate is not usable, or the system has no certificate store.
    #[error("prepare tls")]
    Config(#[from] rustls::Error),
    /// The host of the endpoint is no name that a certificate can carry.
    #[error("host name for tls")]
    Name(#[from] InvalidDnsNameError),
}

impl TlsOptions {
    /// Trusts only the certificate authorities (or self-signed certificates) of a PEM file.
    pub fn trust_file(path: &Path) -> Result<Self, TlsError> {
        let unreadable = |reason: String| TlsError::Certificates {
            path: path.to_owned(),
            reason,
        };
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unreadable("it holds no certificate".to_owned()));
        }
        Self::trust(certificates)
    }

    /// Trusts only these certificate authorities (or self-signed certificates).
    pub fn trust(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Some(Arc::new(config)),
        })
    }

    /// What does the handshakes, for programs that open their links themselves. One serves any number of links; to
    /// make it may read the system's certificates.
    pub fn connector(&self) -> Result<TlsConnector, TlsError> {
        let config = match &self.config {
            Some(config) => Arc::clone(config),
            None => Arc::new(
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_platform_verifier()?
                    .with_no_client_auth(),
            ),
        };
        Ok(TlsConnector::from(config))
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trusts = if self.config.is_some() {
            "given certificates"
        } else {
            "system"
        };
        f.debug_struct("TlsOptions")
            .field("trusts", &trusts)
            .finish()
    }
}

pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    Ok(ServerName::try_from(host.to_owned())?)
}
