//! Keys that verify tokens.
//!
//! Each key has exactly one algorithm, by its own type and never by what a
//! token says: a public key can never be taken for a shared secret, and there
//! is no key for `none`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm as Alg, DecodingKey, Header};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithm;

/// Bytes of a file with keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Shorter secrets can be guessed (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// An uncompressed point of P-256.
const P256_POINT_BYTES: usize = 65;

/// Where keys are.
#[derive(Debug)]
pub(super) enum KeyFile {
    /// A PEM or a secret.
    One(PathBuf),
    /// A JSON Web Key Set.
    Set(PathBuf),
}

/// Keys in use.
pub(super) struct Keys(Vec<Key>);

/// A key and the one algorithm that it is for.
pub(super) struct Key {
    id: Option<String>,
    algorithm: Alg,
    pub(super) decoding: DecodingKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl KeyFile {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::One(path) | Self::Set(path) => path,
        }
    }
}

impl Keys {
    /// Reads the keys whose algorithm is among `algorithms`; all of them, if
    /// that is empty.
    pub(super) fn read(file: &KeyFile, algorithms: &[Algorithm]) -> anyhow::Result<Self> {
        let bytes = fs::metadata(file.path())?.len();
        ensure!(bytes <= FILE_BYTES_MAX, "file is too large");
        let content = fs::read(file.path())?;
        let mut keys = match file {
            KeyFile::One(_) => vec![Key::parse(&content)?],
            KeyFile::Set(_) => parse_set(&content)?,
        };
        if !algorithms.is_empty() {
            keys.retain(|key| {
                algorithms
                    .iter()
                    .any(|&allowed| key.algorithm == alg(allowed))
            });
        }
        ensure!(
            !keys.is_empty(),
            "file has no key for the algorithms allowed"
        );
        for key in &keys {
            key.warn_if_weak();
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token: those of its algorithm, and of
    /// its key id where both have one.
    pub(super) fn candidates(&self, header: &Header) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let is_named = match (&key.id, &header.kid) {
                (Some(id), Some(kid)) => id == kid,
                (None, _) | (_, None) => true,
            };
            is_named && key.algorithm == header.alg
        })
    }
}

impl Key {
    /// Parses a public key as PEM, or takes the content as a shared secret.
    fn parse(content: &[u8]) -> anyhow::Result<Self> {
        let text = content.trim_ascii();
        let (algorithm, decoding) = if text.starts_with(b"-----BEGIN") {
            parse_pem(text)?
        } else {
            ensure!(!text.is_empty(), "file is empty");
            (Alg::HS256, DecodingKey::from_secret(text))
        };
        Ok(Self {
            id: None,
            algorithm,
            decoding,
        })
    }

    /// A key of a set; `None` when it is for something else.
    fn of_set(jwk: &Jwk) -> anyhow::Result<Option<Self>> {
        let common = &jwk.common;
        let is_for_signatures = !matches!(
            common.public_key_use,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
        );
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Alg::RS256,
            AlgorithmParameters::OctetKey(_) => Alg::HS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Alg::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Alg::EdDSA
            }
            AlgorithmParameters::EllipticCurve(_)
            | AlgorithmParameters::OctetKeyPair(_)
            | AlgorithmParameters::Other(_)
            | _ => return Ok(None),
        };
        let is_of_algorithm = common
            .key_algorithm
            .is_none_or(|named| Alg::try_from(named).is_ok_and(|named| named == algorithm));
        if !is_for_signatures || !verifies || !is_of_algorithm {
            return Ok(None);
        }
        Ok(Some(Self {
            id: common.key_id.clone(),
            algorithm,
            decoding: DecodingKey::from_jwk(jwk)?,
        }))
    }

    fn warn_if_weak(&self) {
        if self.algorithm == Alg::HS256
            && let Ok(secret) = self.decoding.try_get_as_bytes()
            && secret.len() < SECRET_BYTES_MIN
        {
            tracing::warn!(
                bytes = secret.len(),
                bytes_min = SECRET_BYTES_MIN,
                "the secret that signs tokens is short enough to be guessed"
            );
        }
    }
}

fn parse_pem(text: &[u8]) -> anyhow::Result<(Alg, DecodingKey)> {
    let is_private = text
        .windows(b"PRIVATE KEY".len())
        .any(|window| window == b"PRIVATE KEY");
    ensure!(
        !is_private,
        "file holds a private key: logic needs the public one"
    );
    if let Ok(key) = DecodingKey::from_ec_pem(text) {
        let is_p256 = key
            .try_get_as_bytes()
            .is_ok_and(|point| point.len() == P256_POINT_BYTES);
        ensure!(is_p256, "elliptic curve is not P-256");
        return Ok((Alg::ES256, key));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(text) {
        return Ok((Alg::EdDSA, key));
    }
    if let Ok(key) = DecodingKey::from_rsa_pem(text) {
        return Ok((Alg::RS256, key));
    }
    bail!("file holds no public key of RSA, P-256 or Ed25519 in PEM")
}

/// The keys of a set that verify signatures; a key that cannot be read is
/// reported and left out, so that it does not take the others with it.
fn parse_set(content: &[u8]) -> anyhow::Result<Vec<Key>> {
    let set: KeySet = serde_json::from_slice(content).context("parse json web key set")?;
    let mut keys = Vec::new();
    for (index, key) in set.keys.into_iter().enumerate() {
        let parsed = serde_json::from_value::<Jwk>(key)
            .map_err(anyhow::Error::from)
            .and_then(|jwk| Key::of_set(&jwk));
        match parsed {
            Ok(Some(key)) => keys.push(key),
            Ok(None) => {}
            // The error's text could hold a secret of the key.
            Err(_) => tracing::warn!(index, "a key of the set cannot be read and is left out"),
        }
    }
    Ok(keys)
}

fn alg(algorithm: Algorithm) -> Alg {
    match algorithm {
        Algorithm::Hs256 => Alg::HS256,
        Algorithm::Rs256 => Alg::RS256,
        Algorithm::Es256 => Alg::ES256,
        Algorithm::EdDsa => Alg::EdDSA,
    }
}
