//! Who Redis has to be, and who Halley shows to be, over TLS.

use std::path::{Path, PathBuf};

use ::redis::{ClientTlsConfig, TlsCertificates};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Files for URLs of the scheme `rediss`, all of them PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Authorities that the certificate of a server must come from; those of the
    /// system without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Certificate chain that is shown to servers which ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Checks what the types cannot, against how many of the URLs use TLS.
    pub(super) fn check(&self, secure: usize, urls: usize) -> Result<(), ConfigError> {
        let problem = if secure != 0 && secure != urls {
            "must all be redis:// or all be rediss://"
        } else if secure == 0 && *self != Self::default() {
            "must be rediss:// for redis.tls to mean anything"
        } else if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(ConfigError::Invalid {
                key: "tls.cert_file",
                problem: "and redis.tls.key_file belong together".to_owned(),
            });
        } else {
            return Ok(());
        };
        Err(ConfigError::Invalid {
            key: "urls",
            problem: problem.to_owned(),
        })
    }

    /// Reads the files.
    pub(super) fn certificates(&self) -> Result<TlsCertificates, ConfigError> {
        let root_cert = self.ca_file.as_deref().map(read).transpose()?;
        let client_tls = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(cert)?,
                client_key: read(key)?,
            }),
            _ => None,
        };
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|source| ConfigError::File {
        file: file.to_owned(),
        source,
    })
}
