//! What cannot work ends the process before anything is served, with a status
//! and a text that say what to change.

use std::fs;
use std::net::{TcpListener, TcpStream};

use crate::support::{FREE_PORTS, Halley};
use tempfile::TempDir;

const USAGE: Option<i32> = Some(64);

#[test]
fn an_occupied_port_is_named_and_nothing_is_served() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = holder.local_addr().unwrap();
    // Free for logic as soon as this line ends.
    let http = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();

    let http_bind = format!("--set=logic.http.bind={http}");
    let websocket_bind = format!("--set=comet.websocket.bind={occupied}");
    let flags = [&FREE_PORTS[..], &[&http_bind, &websocket_bind]].concat();
    let halley = Halley::start(&flags).end();

    assert_eq!(halley.code, Some(1), "{}", halley.stderr);
    assert!(
        halley.stderr.contains(&occupied.to_string()),
        "{}",
        halley.stderr
    );
    assert_eq!(halley.stdout, "");
    assert!(TcpStream::connect(http).is_err(), "logic is still there");
    drop(holder);
}

#[test]
fn an_unknown_key_is_a_usage_error_with_the_nearest_key() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    fs::write(&file, "[comet.tcp]\nbnd = []\n").unwrap();
    let file = file.to_str().unwrap();

    let expected = "halley.toml:2: unknown key `comet.tcp.bnd`; did you mean `comet.tcp.bind`?";
    for args in [
        &["--config", file][..],
        &["comet", "-c", file],
        &["check-config", "-c", file],
    ] {
        let halley = Halley::start(args).end();
        assert_eq!(halley.code, USAGE, "{args:?}");
        assert!(
            halley.stderr.contains(expected),
            "{args:?}: {}",
            halley.stderr
        );
    }
    let halley = Halley::start_with(&["check-config"], &[("HALLEY_CONFIG", file)]).end();
    assert!(halley.stderr.contains(expected), "{}", halley.stderr);
}

#[test]
fn an_unknown_variable_is_a_usage_error() {
    let env = [("HALLEY_COMET__TCP__BND", "127.0.0.1:0")];
    let halley = Halley::start_with(&[], &env).end();

    assert_eq!(halley.code, USAGE);
    let expected = "did you mean `HALLEY_COMET__TCP__BIND`?";
    assert!(halley.stderr.contains(expected), "{}", halley.stderr);
}

#[test]
fn insecure_authentication_in_public_is_a_usage_error() {
    let flags = [&FREE_PORTS[..], &["--set=comet.tcp.bind=0.0.0.0:0"]].concat();
    let halley = Halley::start(&flags).end();

    assert_eq!(halley.code, USAGE);
    for part in [
        "0.0.0.0:0",
        "logic.auth.mode",
        "logic.auth.insecure.allow_public = true",
    ] {
        assert!(halley.stderr.contains(part), "{part}: {}", halley.stderr);
    }
}

#[test]
fn an_address_that_leads_nowhere_is_not_announced() {
    let flags = [
        "comet",
        "--set=registry.kind=redis",
        "--set=trust.secret=0123456789abcdef",
        "--set=comet.rpc.bind=0.0.0.0:0",
    ];
    let halley = Halley::start(&flags).end();

    assert_eq!(halley.code, USAGE);
    for part in ["0.0.0.0:0", "comet.rpc.advertise"] {
        assert!(halley.stderr.contains(part), "{part}: {}", halley.stderr);
    }
}

#[test]
fn a_claim_outlives_the_push_that_it_is_for() {
    let flags = [
        "check-config",
        "--set=push_log.kind=kafka",
        "--set=kafka.brokers=127.0.0.1:9092",
        "--set=push_log.kafka.producer.delivery_timeout=15s",
    ];
    let halley = Halley::start(&flags).end();

    assert_eq!(halley.code, USAGE);
    assert!(halley.stderr.contains("dedup.claim"), "{}", halley.stderr);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["token"],
        &["comet"],
        &["job"],
    ] {
        let halley = Halley::start(args).end();
        assert_eq!(halley.code, USAGE, "{args:?}");
        assert_ne!(halley.stderr, "", "{args:?}");
    }
    let halley = Halley::start(&["--version"]).end();
    assert_eq!(halley.code, Some(0));
    assert!(halley.stdout.starts_with("halley "), "{}", halley.stdout);
}

#[test]
fn the_printed_configuration_is_valid_once_the_hidden_secrets_are_given() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    let env = [("HALLEY_LOGIC__HTTP__KEYS", "visible")];
    let printed = Halley::start_with(&["print-config", "--set", "job.lanes=3"], &env).end();
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(printed.stdout.contains("lanes = 3"), "{}", printed.stdout);
    assert!(!printed.stdout.contains("visible"), "{}", printed.stdout);

    fs::write(&file, &printed.stdout).unwrap();
    let file = file.to_str().unwrap();
    let check = ["check-config", "--config", file];
    let refused = Halley::start(&check).end();
    assert_eq!(refused.code, USAGE);
    for part in ["`logic.http.keys`", "give the secret itself"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let checked = Halley::start_with(&check, &env).end();
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(checked.stdout, "the configuration is valid");
}
