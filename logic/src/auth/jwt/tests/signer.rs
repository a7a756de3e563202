//! Key pairs, and what they sign.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A key pair for one algorithm.
pub(super) struct Signer {
    pub(super) alg: Alg,
    signing: EncodingKey,
    pub(super) public_pem: String,
    public_jwk: Value,
}

impl Signer {
    pub(super) fn secret(secret: &[u8]) -> Self {
        Self {
            alg: Alg::HS256,
            signing: EncodingKey::from_secret(secret),
            public_pem: String::new(),
            public_jwk: json!({"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret)}),
        }
    }

    pub(super) fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = AsDer::<Pkcs8V1Der>::as_der(&pair);
        let public = pair.public_key();
        let base64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Self {
            alg: Alg::RS256,
            signing: EncodingKey::from_rsa_pem(
                pem("PRIVATE KEY", private.unwrap().as_ref()).as_bytes(),
            )
            .unwrap(),
            public_pem: public_pem(public),
            public_jwk: json!({
                "kty": "RSA",
                "n": base64(public.modulus().big_endian_without_leading_zero()),
                "e": base64(public.exponent().big_endian_without_leading_zero()),
            }),
        }
    }

    pub(super) fn ec() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let point = pair.public_key().as_ref();
        Self {
            alg: Alg::ES256,
            signing: EncodingKey::from_ec_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes())
                .unwrap(),
            public_pem: public_pem(pair.public_key()),
            public_jwk: json!({
                "kty": "EC",
                "crv": "P-256",
                "x": BASE64_URL_SAFE_NO_PAD.encode(&point[1..33]),
                "y": BASE64_URL_SAFE_NO_PAD.encode(&point[33..]),
            }),
        }
    }

    pub(super) fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        Self {
            alg: Alg::EdDSA,
            signing: EncodingKey::from_ed_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes())
                .unwrap(),
            public_pem: public_pem(pair.public_key()),
            public_jwk: json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "x": BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
            }),
        }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&Header::new(self.alg), claims)
    }

    pub(super) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(self.alg)
        };
        self.sign_with(&header, claims)
    }

    pub(super) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.signing).unwrap()
    }

    pub(super) fn jwk(&self, more: Value) -> Value {
        let mut jwk = self.public_jwk.clone();
        let (Value::Object(jwk_fields), Value::Object(more)) = (&mut jwk, more) else {
            panic!("objects");
        };
        jwk_fields.extend(more);
        jwk
    }
}

pub(super) fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

pub(super) fn pem(tag: &str, der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n",
        lines.join("\n")
    )
}
