mod signer;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm as Alg;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::signer::{Signer, pem, public_pem};
use super::*;
use crate::auth::Key;
use crate::config::Algorithm;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

/// A key file and a configuration that names it.
struct Files {
    _folder: TempDir,
    file: PathBuf,
    config: JwtConfig,
}

impl Files {
    fn key(content: impl AsRef<[u8]>) -> Self {
        let mut files = Self::empty();
        fs::write(&files.file, content).unwrap();
        files.config.key_file = Some(files.file.clone());
        files
    }

    fn set(keys: &[Value]) -> Self {
        let mut files = Self::empty();
        files.write_set(keys);
        files.config.jwks_file = Some(files.file.clone());
        files
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            file: folder.path().join("keys"),
            _folder: folder,
            config: JwtConfig::default(),
        }
    }

    fn write_set(&self, keys: &[Value]) {
        fs::write(&self.file, json!({ "keys": keys }).to_string()).unwrap();
    }

    fn jwt(&self) -> Jwt {
        Jwt::new(&self.config).unwrap()
    }
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

fn claims() -> Value {
    json!({"mid": 7, "exp": now_s() + 600})
}

fn login(jwt: &Jwt, token: &str) -> Result<Identity, AuthError> {
    jwt.authenticate(Credentials {
        server: "comet-1",
        cookie: "",
        token: token.as_bytes(),
    })
}

fn refusal(jwt: &Jwt, token: &str) -> &'static str {
    match login(jwt, token) {
        Err(AuthError::Refused(reason)) => reason,
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn every_algorithm_is_taken_with_its_key() {
    for signer in [Signer::rsa(), Signer::ec(), Signer::ed()] {
        let files = Files::key(&signer.public_pem);
        let identity = login(&files.jwt(), &signer.sign(&claims())).unwrap();
        assert_eq!(identity.mid, 7, "{:?}", signer.alg);
    }
    let identity = login(
        &Files::key(SECRET).jwt(),
        &Signer::secret(SECRET).sign(&claims()),
    );
    assert_eq!(identity.unwrap().mid, 7);
}

#[test]
fn every_algorithm_is_taken_from_a_set() {
    let signers = [
        Signer::rsa(),
        Signer::ec(),
        Signer::ed(),
        Signer::secret(SECRET),
    ];
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk(json!({}))).collect();
    let jwt = Files::set(&keys).jwt();

    for signer in &signers {
        assert_eq!(login(&jwt, &signer.sign(&claims())).unwrap().mid, 7);
    }
}

#[test]
fn the_token_stands_alone_or_in_goims_json() {
    let jwt = Files::key(SECRET).jwt();
    let token = Signer::secret(SECRET).sign(&claims());

    let alone = login(&jwt, &format!(" {token}\n")).unwrap();
    assert_eq!(alone.mid, 7);
    let body =
        json!({"token": token, "mid": 8, "key": "phone", "room_id": "live://1", "accepts": [9]});
    let identity = login(&jwt, &body.to_string()).unwrap();
    assert_eq!(identity.mid, 7);
    assert_eq!(identity.key, Key::Given("7:phone".to_owned()));
    assert_eq!(identity.room_id, "live://1");
    assert_eq!(identity.accepts, [9]);
}

#[test]
fn without_a_token_nobody_logs_in() {
    let jwt = Files::key(SECRET).jwt();

    for body in [
        "",
        "x",
        "a.b.c",
        "{}",
        r#"{"mid":7}"#,
        r#"{"token":7}"#,
        "null",
    ] {
        assert!(
            matches!(login(&jwt, body), Err(AuthError::Malformed(_))),
            "{body}"
        );
    }
}

#[test]
fn expired_and_early_tokens_are_refused_outside_of_the_leeway() {
    let mut files = Files::key(SECRET);
    files.config.leeway = Duration::from_secs(30);
    let jwt = files.jwt();
    let signer = Signer::secret(SECRET);
    let token = |exp: i64, nbf: i64| signer.sign(&json!({"exp": exp, "nbf": nbf}));
    let now = now_s();

    assert_eq!(refusal(&jwt, &token(now - 60, 0)), "token has expired");
    assert_eq!(
        refusal(&jwt, &token(now + 600, now + 90)),
        "token is not valid yet"
    );
    assert!(login(&jwt, &token(now - 10, now + 10)).is_ok());
}

#[test]
fn tokens_without_end_are_refused_unless_allowed() {
    let mut files = Files::key(SECRET);
    let token = Signer::secret(SECRET).sign(&json!({"mid": 7}));

    assert_eq!(
        refusal(&files.jwt(), &token),
        "token lacks a required claim"
    );
    files.config.require_expiry = false;
    let identity = login(&files.jwt(), &token).unwrap();
    assert_eq!(identity.grant, None);
}

#[test]
fn issuer_and_audience_are_checked() {
    let mut files = Files::key(SECRET);
    files.config.issuer = "us".to_owned();
    files.config.audience = "chat".to_owned();
    let jwt = files.jwt();
    let signer = Signer::secret(SECRET);
    let token = |more: Value| {
        let mut claims = json!({"exp": now_s() + 600});
        let (Value::Object(fields), Value::Object(more)) = (&mut claims, more) else {
            panic!("objects");
        };
        fields.extend(more);
        signer.sign(&claims)
    };

    assert!(login(&jwt, &token(json!({"iss": "us", "aud": "chat"}))).is_ok());
    assert!(login(&jwt, &token(json!({"iss": "us", "aud": ["x", "chat"]}))).is_ok());
    for (more, reason) in [
        (
            json!({"iss": "them", "aud": "chat"}),
            "token is of another issuer",
        ),
        (
            json!({"iss": "us", "aud": "x"}),
            "token is for another audience",
        ),
        (json!({"aud": "chat"}), "token lacks a required claim"),
        (json!({"iss": "us"}), "token lacks a required claim"),
    ] {
        assert_eq!(refusal(&jwt, &token(more)), reason);
    }
}

#[test]
fn a_token_for_another_audience_is_refused_when_none_is_configured() {
    let token = Signer::secret(SECRET).sign(&json!({"exp": now_s() + 600, "aud": "x"}));

    assert_eq!(
        refusal(&Files::key(SECRET).jwt(), &token),
        "token is for another audience"
    );
}

#[test]
fn other_algorithms_of_the_same_key_are_refused() {
    let secret = Signer::secret(SECRET);
    let rsa = Signer::rsa();
    let by_secret = Files::key(SECRET).jwt();
    let by_rsa = Files::key(&rsa.public_pem).jwt();

    for alg in [Alg::HS384, Alg::HS512] {
        let token = secret.sign_with(&Header::new(alg), &claims());
        assert_eq!(refusal(&by_secret, &token), "no key for the token");
    }
    for alg in [Alg::RS384, Alg::PS256] {
        let token = rsa.sign_with(&Header::new(alg), &claims());
        assert_eq!(refusal(&by_rsa, &token), "no key for the token");
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    for signer in [Signer::rsa(), Signer::ec(), Signer::ed()] {
        let jwt = Files::key(&signer.public_pem).jwt();
        for secret in [&signer.public_pem, signer.public_pem.trim_end()] {
            let token = Signer::secret(secret.as_bytes()).sign(&claims());
            assert_eq!(refusal(&jwt, &token), "no key for the token");
        }
    }
}

#[test]
fn unsigned_tokens_are_refused() {
    let jwt = Files::key(SECRET).jwt();
    let body = BASE64_URL_SAFE_NO_PAD.encode(claims().to_string());
    let signed = Signer::secret(SECRET).sign(&claims());
    let (unsigned, _) = signed.rsplit_once('.').unwrap();

    for alg in ["none", "None", "NONE", ""] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        for token in [format!("{header}.{body}."), format!("{header}.{body}")] {
            assert!(login(&jwt, &token).is_err(), "{alg}");
        }
    }
    assert!(login(&jwt, &format!("{unsigned}.")).is_err());
}

#[test]
fn a_changed_token_is_refused() {
    let jwt = Files::key(SECRET).jwt();
    let token = Signer::secret(SECRET).sign(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let forged = BASE64_URL_SAFE_NO_PAD.encode(json!({"mid": 8, "exp": now_s() + 600}).to_string());

    assert_eq!(
        refusal(&jwt, &format!("{}.{forged}.{}", parts[0], parts[2])),
        "signature is wrong"
    );
}

#[test]
fn critical_extensions_are_refused() {
    let header = Header {
        crit: Some(vec!["exp".to_owned()]),
        ..Header::new(Alg::HS256)
    };
    let token = Signer::secret(SECRET).sign_with(&header, &claims());

    assert_eq!(
        refusal(&Files::key(SECRET).jwt(), &token),
        "token has critical extensions"
    );
}

#[test]
fn the_allowed_algorithms_can_be_narrowed() {
    let (ec, ed) = (Signer::ec(), Signer::ed());
    let mut files = Files::set(&[ec.jwk(json!({})), ed.jwk(json!({}))]);
    files.config.algorithms = vec![Algorithm::EdDsa];
    let jwt = files.jwt();

    assert!(login(&jwt, &ed.sign(&claims())).is_ok());
    assert_eq!(refusal(&jwt, &ec.sign(&claims())), "no key for the token");
    files.config.algorithms = vec![Algorithm::Rs256];
    assert!(Jwt::new(&files.config).is_err());
}

#[test]
fn the_key_id_selects_the_key() {
    let (one, other) = (Signer::ed(), Signer::ed());
    let jwt = Files::set(&[one.jwk(json!({"kid": "1"})), other.jwk(json!({"kid": "2"}))]).jwt();

    assert!(login(&jwt, &one.sign_as("1", &claims())).is_ok());
    assert!(login(&jwt, &other.sign_as("2", &claims())).is_ok());
    assert!(login(&jwt, &other.sign(&claims())).is_ok(), "tries all");
    assert_eq!(
        refusal(&jwt, &one.sign_as("2", &claims())),
        "signature is wrong"
    );
    assert_eq!(
        refusal(&jwt, &one.sign_as("3", &claims())),
        "no key for the token"
    );
}

#[test]
fn keys_for_something_else_are_left_out() {
    let signer = Signer::ed();
    for more in [
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"alg": "RS256"}),
        json!({"crv": "P-256"}),
    ] {
        let files = Files::set(&[signer.jwk(more.clone())]);
        assert!(Jwt::new(&files.config).is_err(), "{more}");
    }
    for more in [
        json!({"use": "sig"}),
        json!({"key_ops": ["verify"]}),
        json!({"alg": "EdDSA"}),
    ] {
        assert!(
            login(
                &Files::set(&[signer.jwk(more)]).jwt(),
                &signer.sign(&claims())
            )
            .is_ok()
        );
    }
}

#[test]
fn a_key_that_cannot_be_read_leaves_the_others() {
    let signer = Signer::ed();
    let files = Files::set(&[json!({"kty": 7}), json!("x"), signer.jwk(json!({}))]);

    assert!(login(&files.jwt(), &signer.sign(&claims())).is_ok());
}

#[test]
fn files_that_hold_no_public_key_are_refused() {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let private = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    for content in [
        String::new(),
        "\n".to_owned(),
        pem("PRIVATE KEY", private.as_ref()),
        public_pem(p384.public_key()),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(),
    ] {
        assert!(Jwt::new(&Files::key(&content).config).is_err(), "{content}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_and_a_broken_file_changes_nothing() {
    let (old, new) = (Signer::ed(), Signer::ed());
    let files = Files::set(&[old.jwk(json!({"kid": "old"}))]);
    let jwt = files.jwt();
    let end = CancellationToken::new();
    let interval = files.config.reload_interval;
    let [by_old, by_new] = [
        old.sign_as("old", &claims()),
        new.sign_as("the-new-one", &claims()),
    ];

    let test = async {
        assert!(login(&jwt, &by_old).is_ok() && login(&jwt, &by_new).is_err());

        fs::write(&files.file, "{").unwrap();
        tokio::time::advance(interval * 2).await;
        tokio::task::yield_now().await;
        assert!(login(&jwt, &by_old).is_ok());

        fs::remove_file(&files.file).unwrap();
        tokio::time::advance(interval * 2).await;
        tokio::task::yield_now().await;
        assert!(login(&jwt, &by_old).is_ok());

        files.write_set(&[
            old.jwk(json!({"kid": "old"})),
            new.jwk(json!({"kid": "the-new-one"})),
        ]);
        while login(&jwt, &by_new).is_err() {
            tokio::time::advance(interval).await;
            tokio::task::yield_now().await;
        }
        assert!(login(&jwt, &by_old).is_ok());

        files.write_set(&[new.jwk(json!({"kid": "the-new-one"}))]);
        while login(&jwt, &by_old).is_ok() {
            tokio::time::advance(interval).await;
            tokio::task::yield_now().await;
        }
        assert!(login(&jwt, &by_new).is_ok());
        end.cancel();
    };
    tokio::join!(jwt.watch(&end), test);
}

#[test]
fn nothing_secret_is_shown() {
    let files = Files::key(SECRET);
    let jwt = files.jwt();

    let shown = format!("{jwt:?} {:?}", login(&jwt, "visible.visible.visible"));

    assert!(
        !shown.contains("a secret") && !shown.contains("visible"),
        "{shown}"
    );
}
