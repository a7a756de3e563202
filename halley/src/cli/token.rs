//! `halley token`: a JSON Web Token to try with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, ValueEnum};
use humantime_serde::re::humantime;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// Where `halley connect` looks for a token.
pub(super) const VARIABLE: &str = "HALLEY_TOKEN";

#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("signed with").required(true))]
pub(super) struct Args {
    #[arg(
        long,
        value_name = "FILE",
        group = "signed with",
        help = "File with the secret that logic.auth.jwt.key_file has too (HS256)"
    )]
    secret_file: Option<PathBuf>,
    /// File with the private key, as PEM, of the public one that logic has
    #[arg(
        long,
        value_name = "FILE",
        group = "signed with",
        requires = "algorithm"
    )]
    key_file: Option<PathBuf>,
    /// What the private key is for
    #[arg(
        long,
        value_enum,
        requires = "key_file",
        conflicts_with = "secret_file"
    )]
    algorithm: Option<Algorithm>,
    /// Name of the key in a key set
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
    /// The user; 0 is a stranger
    #[arg(long)]
    mid: i64,
    /// Name of the connection; without it the client chooses one
    #[arg(long)]
    key: Option<String>,
    #[arg(long, help = "Room to join at login, in full, such as live://1000")]
    room: Option<String>,
    /// The only rooms that the client may join; live://* stands for all of a type
    #[arg(long, value_name = "ROOM,…", value_delimiter = ',')]
    rooms: Option<Vec<String>>,
    /// Operations to receive from the start
    #[arg(long, value_name = "OP,…", value_delimiter = ',')]
    accepts: Option<Vec<i32>>,
    /// The only operations that the client may receive
    #[arg(long, value_name = "OP,…", value_delimiter = ',')]
    ops: Option<Vec<i32>>,
    /// How long the token is valid, such as 90s, 1h, 7days
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// logic.auth.jwt.issuer
    #[arg(long)]
    issuer: Option<String>,
    /// logic.auth.jwt.audience
    #[arg(long)]
    audience: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithm {
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "EdDSA")]
    EdDsa,
}

#[derive(Serialize)]
struct Claims<'a> {
    mid: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepts: Option<&'a [i32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<&'a [i32]>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// The token that the arguments ask for.
pub(super) fn make(args: &Args) -> anyhow::Result<String> {
    let (algorithm, key) = signing_key(args)?;
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&args.kid);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("read the clock")?
        .as_secs();
    let claims = Claims {
        mid: args.mid,
        key: args.key.as_deref(),
        room_id: args.room.as_deref(),
        rooms: args.rooms.as_deref(),
        accepts: args.accepts.as_deref(),
        ops: args.ops.as_deref(),
        iat: now,
        exp: now.saturating_add(args.expires.as_secs()),
        iss: args.issuer.as_deref(),
        aud: args.audience.as_deref(),
    };
    jsonwebtoken::encode(&header, &claims, &key).context("sign the token")
}

fn signing_key(args: &Args) -> anyhow::Result<(jsonwebtoken::Algorithm, EncodingKey)> {
    if let Some(file) = &args.secret_file {
        let secret = read(file)?;
        // An editor's last line end is no part of it, here and in logic.
        let secret = secret.trim_ascii();
        ensure!(!secret.is_empty(), "{} is empty", file.display());
        let key = EncodingKey::from_secret(secret);
        return Ok((jsonwebtoken::Algorithm::HS256, key));
    }
    let (Some(file), Some(algorithm)) = (&args.key_file, args.algorithm) else {
        anyhow::bail!("neither a secret nor a private key is given");
    };
    let pem = read(file)?;
    let (algorithm, key) = match algorithm {
        Algorithm::Rs256 => (
            jsonwebtoken::Algorithm::RS256,
            EncodingKey::from_rsa_pem(&pem),
        ),
        Algorithm::Es256 => (
            jsonwebtoken::Algorithm::ES256,
            EncodingKey::from_ec_pem(&pem),
        ),
        Algorithm::EdDsa => (
            jsonwebtoken::Algorithm::EdDSA,
            EncodingKey::from_ed_pem(&pem),
        ),
    };
    let key = key.with_context(|| format!("{} as a key for {algorithm:?}", file.display()))?;
    Ok((algorithm, key))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jsonwebtoken::{Algorithm as Alg, DecodingKey, Validation};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    #[derive(Parser)]
    struct Token {
        #[command(flatten)]
        args: Args,
    }

    fn token(args: &[&str]) -> anyhow::Result<String> {
        let arguments = ["token"].iter().chain(args);
        make(&Token::try_parse_from(arguments)?.args)
    }

    fn claims(token: &str, algorithm: Alg, key: &DecodingKey) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["im"]);
        validation.set_issuer(&["me"]);
        jsonwebtoken::decode::<Value>(token, key, &validation)
            .expect("a valid token")
            .claims
    }

    #[test]
    fn claims_say_what_was_asked_for() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, "a secret of thirty-two characters\n").unwrap();
        let file = file.to_str().unwrap();

        let token = token(&[
            "--secret-file",
            file,
            "--mid",
            "7",
            "--key",
            "phone",
            "--room",
            "live://1",
            "--rooms",
            "live://*,chat://1",
            "--accepts",
            "1000",
            "--ops",
            "1000,1001",
            "--expires",
            "90s",
            "--issuer",
            "me",
            "--audience",
            "im",
            "--kid",
            "k1",
        ])
        .unwrap();

        let key = DecodingKey::from_secret(b"a secret of thirty-two characters");
        let mut claims = claims(&token, Alg::HS256, &key);
        let lasts = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lasts, 90);
        let claims = claims.as_object_mut().unwrap();
        claims.remove("exp");
        claims.remove("iat");
        assert_eq!(
            Value::Object(claims.clone()),
            json!({
                "mid": 7, "key": "phone", "room_id": "live://1",
                "rooms": ["live://*", "chat://1"], "accepts": [1000], "ops": [1000, 1001],
                "iss": "me", "aud": "im",
            })
        );
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.kid.as_deref(), Some("k1"));
    }

    #[test]
    fn private_keys_sign_for_their_public_ones() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("key.pem");
        let path = file.to_str().unwrap();
        let asymmetric = |name| {
            let args = ["--key-file", path, "--algorithm", name, "--mid", "7"];
            token(&[&args[..], &["--issuer", "me", "--audience", "im"]].concat())
        };

        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        fs::write(&file, pair.serialize_pem()).unwrap();
        let key = DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(
            claims(&asymmetric("ES256").unwrap(), Alg::ES256, &key)["mid"],
            7
        );
        let error = format!("{:#}", asymmetric("EdDSA").unwrap_err());
        assert!(error.contains("key.pem as a key for EdDSA"), "{error}");

        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        fs::write(&file, pair.serialize_pem()).unwrap();
        let key = DecodingKey::from_ed_pem(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(
            claims(&asymmetric("EdDSA").unwrap(), Alg::EdDSA, &key)["mid"],
            7
        );
    }

    #[test]
    fn unusable_files_are_named() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("secret");
        let path = file.to_str().unwrap();
        let error = || {
            format!(
                "{:#}",
                token(&["--secret-file", path, "--mid", "7"]).unwrap_err()
            )
        };

        assert!(
            error().starts_with(&format!("read {path}: ")),
            "{}",
            error()
        );
        fs::write(&file, "\n").unwrap();
        assert_eq!(error(), format!("{path} is empty"));
    }
}
