use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::{Error, Files};

/// Certificates with their keys, of which the server name that a client asks
/// for picks one.
pub(super) struct Pairs(Vec<Arc<CertifiedKey>>);

impl Pairs {
    pub(super) fn load(files: &Files, provider: &CryptoProvider) -> Result<Self, Error> {
        if files.cert.len() != files.key.len() {
            return Err(Error::Unpaired {
                certs: files.cert.len(),
                keys: files.key.len(),
            });
        }
        if files.cert.is_empty() {
            return Err(Error::Nothing);
        }
        files
            .cert
            .iter()
            .zip(&files.key)
            .map(|(cert, key)| load_pair(cert, key, provider).map(Arc::new))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::try_from(name).ok()?;
            self.0.iter().find(|pair| is_valid_for(pair, &name))
        });
        named.or(self.0.first()).cloned()
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairs")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

fn is_valid_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    pair.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .and_then(|cert| verify_server_name(&cert, name))
        .is_ok()
}

pub(super) fn load_pair(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = read_chain(cert)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| Error::Pem {
        path: key.to_owned(),
        source,
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| Error::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// The certificates of a file, at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::Pem {
            path: path.to_owned(),
            source,
        })?;
    if chain.is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}
