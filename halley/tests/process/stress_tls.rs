//! The load tool over TLS. Setup: a gateway whose certificate no system trusts. Claims: a day of TCP and WebSocket in
//! TLS ends as in the clear when the tool is told whom to trust; else the report says that it was the handshake.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, Halley, Listening};

#[test]
fn a_day_in_tls_is_a_day_like_any_other() {
    let folder = TempDir::new().expect("a folder");
    let ca = folder.path().join("certificate.pem");
    let key = folder.path().join("key.pem");
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(&ca, cert.pem()).expect("a file");
    fs::write(&key, signing_key.serialize_pem()).expect("a file");
    let (_gateway, listening) = Halley::serve(&[
        &format!("--set=comet.tls.cert_files={}", ca.display()),
        &format!("--set=comet.tls.key_files={}", key.display()),
    ]);

    let trusting = run(&listening, &["--ca", &ca.display().to_string()]);
    let context = format!("{}\n{}", trusting.stdout, trusting.stderr);
    assert_eq!(trusting.code, Some(0), "{context}");
    let report: Value = serde_json::from_str(&trusting.stdout).expect("one JSON object");
    let deliveries = &report["deliveries"];
    assert!(deliveries["expected"].as_u64() > Some(100), "{context}");
    assert_eq!(deliveries["expected"], deliveries["received"], "{context}");

    let doubting = run(&listening, &[]);
    assert_eq!(doubting.code, Some(1), "{}", doubting.stderr);
    assert!(
        doubting.stdout.contains("tls handshake: "),
        "{}",
        doubting.stdout
    );
}

#[test]
fn authorities_that_cannot_be_read_are_a_mistake() {
    let flags = ["--tcp=tls://localhost:1", "--ca=/nonexistent/ca.pem"];
    let tool = Halley::start(&[&["stress", "room"], &flags[..]].concat()).end();
    assert_eq!(tool.code, Some(2), "{}", tool.stderr);
    assert!(tool.stderr.contains("--ca: "), "{}", tool.stderr);
}

fn run(listening: &Listening, more: &[&str]) -> Ended {
    let named = |address: String| address.replace("127.0.0.1", "localhost");
    let line = format!(
        "stress mixed -n 40 --rooms 4 --rate 20 --user-rate 20 --turnover 4 --changes 4 --duration 5s --grace 2s \
            --heartbeat 1s --transport mixed --tcp {} --ws {} --http http://{} --json --limit 50s \
            --expect loss=0,reordered=0,duplicated=0,misrouted=0,disconnects=0,unanswered=0",
        named(listening.at("tcp in tls ")),
        named(listening.at("websocket in tls ")),
        listening.http(),
    );
    let mut args: Vec<&str> = line.split_whitespace().collect();
    args.extend(more);
    Halley::start(&args).end()
}
