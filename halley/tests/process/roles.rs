//! Each role in a process of its own, connected over gRPC by a fixed list: a
//! push to logic reaches a client of comet through job, and each process drains
//! on its own.

use std::fs;

use crate::support::{Halley, Listening, http, push};
use rustix::process::Signal;
use tempfile::TempDir;

/// A logic, a comet and a job.
fn three() -> [(Halley, Listening); 3] {
    let admin = "--set=admin.bind=127.0.0.1:0";
    let (logic, at_logic) = Halley::serve(&["logic", admin]);
    let peers = format!("--set=registry.fixed.logics={}", at_logic.at("logic grpc"));
    let (comet, at_comet) = Halley::serve(&["comet", &peers, admin]);
    let comets = format!(
        "--set=registry.fixed.comets=[{{ server = 'comet-test', addr = '{}' }}]",
        at_comet.at("comet grpc")
    );
    let job = Halley::serve(&["job", &peers, &comets, admin]);
    [(logic, at_logic), (comet, at_comet), job]
}

#[test]
fn a_push_travels_through_three_processes() {
    let [(logic, at_logic), (comet, at_comet), (job, _)] = three();

    let url = at_comet.at("tcp ");
    let args = ["connect", &url, "--room", "live://1000", "--count", "1"];
    let mut client = Halley::start(&args);
    client.stdout.wait_for("# connected to ");
    push(at_logic.http(), "from afar");
    client.stdout.wait_for("1000 from afar");
    assert_eq!(client.end().code, Some(0));

    let metrics = http(at_comet.admin(), "GET", "/metrics", "");
    assert!(metrics.contains("halley_comet_connections"), "{metrics}");

    for (name, process) in [("job", job), ("comet", comet), ("logic", logic)] {
        process.signal(Signal::TERM);
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(r#""message":"drained""#),
            "{name}: {}",
            ended.stderr
        );
    }
}

#[test]
fn each_role_can_be_told_to_drain() {
    let [logic, comet, job] = three();

    for (name, (process, at)) in [("job", job), ("comet", comet), ("logic", logic)] {
        let drain = Halley::start(&["drain", "--admin", &at.admin().to_string()]).end();
        let ended = process.end();

        assert_eq!(drain.code, Some(0), "{name}: {}", drain.stderr);
        assert!(
            drain.stdout.starts_with("drained: ") && drain.stdout.ends_with(", 0 forced"),
            "{name}: {}",
            drain.stdout
        );
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
    }
}

#[test]
fn a_draining_logic_waits_for_a_job_to_take_what_it_accepted() {
    let (mut logic, at_logic) = Halley::serve(&["logic"]);
    let peers = format!("--set=registry.fixed.logics={}", at_logic.at("logic grpc"));
    let (_comet, at_comet) = Halley::serve(&["comet", &peers]);
    let url = at_comet.at("tcp ");
    let args = ["connect", &url, "--room", "live://1000", "--count", "1"];
    let mut client = Halley::start(&args);
    client.stdout.wait_for("# connected to ");

    push(at_logic.http(), "still there");
    logic.signal(Signal::TERM);
    logic
        .stderr
        .wait_for(r#""message":"draining stage","stage":"logic""#);
    let comets = format!(
        "--set=registry.fixed.comets=[{{ server = 'comet-test', addr = '{}' }}]",
        at_comet.at("comet grpc")
    );
    let (_job, _) = Halley::serve(&["job", &peers, &comets]);

    client.stdout.wait_for("1000 still there");
    let logic = logic.end();
    assert_eq!(logic.code, Some(0), "{}", logic.stderr);
    assert!(!logic.stderr.contains("lost"), "{}", logic.stderr);
}

#[test]
fn a_token_of_ours_opens_a_server_that_asks_for_one() {
    let dir = TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "one that nobody else knows, 32 bytes\n").unwrap();
    let secret = secret.to_str().unwrap();
    let key_file = format!("--set=logic.auth.jwt.key_file={secret}");
    let (_server, listening) = Halley::serve(&["--set=logic.auth.mode=jwt", &key_file]);
    let url = listening.at("tcp ");

    let token = Halley::start(&["token", "--secret-file", secret, "--mid", "7"]).end();
    assert_eq!(token.code, Some(0), "{}", token.stderr);
    let env = [("HALLEY_TOKEN", token.stdout.trim())];
    let connect = ["connect", &url, "--room", "live://1000", "--count", "1"];
    let mut client = Halley::start_with(&connect, &env);
    client.stdout.wait_for("# connected to ");
    push(listening.http(), "for those who may");
    assert_eq!(client.end().code, Some(0));

    let mut stranger = Halley::start(&["connect", &url]);
    let refused = stranger.stdout.wait_for("#");
    assert!(refused.contains("login refused"), "{refused}");
}
