//! Everything in one process, as a newcomer starts it: the lines that it prints
//! work as they stand, and a client in another process receives what is pushed.

use crate::support::{FREE_PORTS, Halley, PATIENCE, http, push};
use rustix::process::Signal;

#[test]
fn a_push_reaches_the_terminal_client() {
    let (server, listening) = Halley::serve(&[]);
    let url = listening.at("tcp ");

    let args = [
        "connect",
        &url,
        "--room",
        "live://1000",
        "--count",
        "2",
        "--heartbeat",
        "100ms",
    ];
    let mut client = Halley::start(&args);
    client.stdout.wait_for("# connected to tcp://127.0.0.1:");
    client.stdout.wait_for("# 1 online in live://1000");
    push(listening.http(), "hello");
    push(listening.http(), "two\nlines");
    let client = client.end();

    assert_eq!(client.code, Some(0), "{}", client.stderr);
    let messages: Vec<_> = client
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(messages, ["1000 hello", r"1000 two\nlines"]);
    assert_eq!(client.stderr, "");

    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn the_printed_lines_name_the_real_addresses() {
    let (mut server, listening) = Halley::serve(&[]);

    let client = server.stdout.wait_for(" connect ");
    let push = server.stdout.wait_for("curl ");
    let demo = server.stdout.wait_for("/demo");

    let tcp = listening.tcp();
    assert_eq!(
        client.trim(),
        format!(
            "{} connect tcp://{tcp} --room live://1000",
            env!("CARGO_BIN_EXE_halley")
        )
    );
    let api = listening.http();
    assert_eq!(
        push.trim(),
        format!("curl -d 'hello' 'http://{api}/goim/push/room?operation=1000&type=live&room=1000'")
    );
    assert_eq!(demo.trim(), format!("http://{api}/demo"));
    assert!(http(api, "GET", "/demo", "").starts_with("HTTP/1.1 200 "));
    assert!(http(api, "GET", "/readyz", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_typed_is_sent_and_a_signal_ends_the_client() {
    let (_server, listening) = Halley::serve(&[]);
    let url = listening.at("websocket ");

    let mut client = Halley::start(&["connect", &url]);
    client.stdout.wait_for("# connected to ws://127.0.0.1:");
    client.type_line("to the backend");
    let deadline = std::time::Instant::now() + PATIENCE;
    let received = "halley_logic_receives_total";
    while !http(listening.http(), "GET", "/metrics", "")
        .lines()
        .any(|line| line.starts_with(received) && line.ends_with(" 1"))
    {
        assert!(std::time::Instant::now() < deadline, "nothing was received");
    }

    client.signal(Signal::INT);
    let client = client.end();
    assert_eq!(client.code, Some(0), "{}", client.stderr);
    assert!(!client.stdout.contains("not sent"), "{}", client.stdout);
}

#[test]
fn without_a_terminal_the_addresses_are_in_the_log() {
    let free = FREE_PORTS.iter().filter(|flag| **flag != "--banner");
    let mut server = Halley::start(&free.copied().collect::<Vec<_>>());

    let line = server.stderr.wait_for(r#""what":"http""#);
    assert!(line.contains(r#""address":"http://127.0.0.1:"#), "{line}");
    server.stderr.wait_for("curl -d 'hello'");

    server.signal(Signal::TERM);
    assert_eq!(server.end().stdout, "");
}
