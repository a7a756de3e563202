use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};

use super::pair::{load_pair, read_chain};
use super::{Error, FromFiles};

/// HTTP/2, the one protocol that gRPC is spoken over.
const ALPN: &[u8] = b"h2";

/// One node's side of TLS in which both ends show a certificate of the same
/// authority: as the server of some connections and the client of others.
pub(crate) struct Mutual {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Mutual {
    /// Reads the files, and again when they are watched and have changed.
    pub(crate) fn load(cert: &Path, key: &Path, ca: &Path) -> Result<Arc<FromFiles<Self>>, Error> {
        let [cert, key, ca] = [cert, key, ca].map(Path::to_owned);
        let files = vec![cert.clone(), key.clone(), ca.clone()];
        FromFiles::load(files, move || Self::read(&cert, &key, &ca))
    }

    fn read(cert: &Path, key: &Path, ca: &Path) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = Arc::new(Own(Arc::new(load_pair(cert, key, &provider)?)));
        let roots = Arc::new(authorities(ca)?);
        Ok(Self {
            server: Arc::new(server(&provider, &own, &roots, ca)?),
            client: Arc::new(client(&provider, own, roots)),
        })
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    own: &Arc<Own>,
    roots: &Arc<RootCertStore>,
    ca: &Path,
) -> Result<ServerConfig, Error> {
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(|source| Error::Authority {
                path: ca.to_owned(),
                source: source.into(),
            })?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports the default versions")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    own: Arc<Own>,
    roots: Arc<RootCertStore>,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("invariant: the provider supports the default versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|source| Error::Authority {
            path: path.to_owned(),
            source: source.into(),
        })?;
    }
    Ok(roots)
}

/// The node's own certificate, for whoever asks.
struct Own(Arc<CertifiedKey>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}
