//! A signal, or `halley drain`, drains the process in order and ends it with 0; a
//! second signal does not wait for clients that still have to be told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Halley, PATIENCE, http};
use halley_wire::{Header, Op, packet};
use rustix::process::Signal;

/// A client that has logged in.
fn log_in(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut auth = Vec::new();
    let header = Header {
        ver: 1,
        op: Op::AUTH,
        seq: 1,
    };
    packet::encode(&mut auth, header, br#"{"room_id":"live://1000"}"#);
    stream.write_all(&auth).expect("send");
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).expect("the answer");
    stream
}

/// The stages in the order in which they drained, and the line at the end.
fn drained(log: &str) -> (Vec<&str>, &str) {
    let value = |line, name: &str| {
        let (_, rest): (&str, &str) = str::split_once(line, &format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let stages = log
        .lines()
        .filter(|line| line.contains("draining stage"))
        .filter_map(|line| value(line, "stage"))
        .collect();
    let last = log.lines().last().unwrap_or_default();
    (stages, last)
}

#[test]
fn terminate_drains_in_order_and_counts() {
    drains_in_order_and_counts(Signal::TERM);
}

#[test]
fn interrupt_drains_in_order_and_counts() {
    drains_in_order_and_counts(Signal::INT);
}

fn drains_in_order_and_counts(signal: Signal) {
    let (server, listening) = Halley::serve(&[]);
    let mut clients: Vec<_> = (0..5).map(|_| log_in(listening.tcp())).collect();

    server.signal(signal);
    for client in &mut clients {
        let mut last_words = Vec::new();
        client.read_to_end(&mut last_words).expect("an orderly end");
        assert!(!last_words.is_empty(), "a client was not told");
    }
    let server = server.end();

    assert_eq!(server.code, Some(0), "{}", server.stderr);
    let (stages, last) = drained(&server.stderr);
    assert_eq!(stages, ["logic.push", "job", "comet", "logic"]);
    assert!(last.contains(r#""message":"drained""#), "{last}");
    assert!(last.contains(r#""forced":0,"#), "{last}");
    let told = r#""message":"stage drained","stage":"comet","clean":5,"forced":0"#;
    assert!(server.stderr.contains(told), "{}", server.stderr);
}

#[test]
fn drain_is_a_signal_that_tells_how_it_went() {
    let (server, listening) = Halley::serve(&["--set=admin.bind=127.0.0.1:0"]);
    let mut clients: Vec<_> = (0..5).map(|_| log_in(listening.tcp())).collect();

    let admin = listening.admin().to_string();
    let drain = Halley::start(&["drain", "--admin", &admin]);
    for client in &mut clients {
        let mut last_words = Vec::new();
        client.read_to_end(&mut last_words).expect("an orderly end");
        assert!(!last_words.is_empty(), "a client was not told");
    }
    let (drain, server) = (drain.end(), server.end());

    assert_eq!(server.code, Some(0), "{}", server.stderr);
    assert_eq!(drain.code, Some(0), "{}", drain.stderr);
    assert!(drain.stdout.starts_with("drained: "), "{}", drain.stdout);
    assert!(
        drain.stdout.ends_with(" clean, 0 forced"),
        "{}",
        drain.stdout
    );
    let again = Halley::start(&["drain", "--admin", &admin]).end();
    assert_eq!(again.code, Some(1), "{}", again.stdout);
}

#[test]
fn a_second_signal_ends_at_once() {
    let pace = "--set=comet.drain.connections_per_second=1";
    let deadline = "--set=drain.deadline=10m";
    let (mut server, listening) = Halley::serve(&[pace, deadline]);
    // One a second: to tell them all takes far longer than a test may.
    let clients: Vec<_> = (0..600).map(|_| log_in(listening.tcp())).collect();

    server.signal(Signal::TERM);
    server.stderr.wait_for(r#""stage":"comet""#);
    let readyz = http(listening.http(), "GET", "/readyz", "");
    assert!(readyz.starts_with("HTTP/1.1 503 "), "{readyz}");
    let asked = Instant::now();
    server.signal(Signal::TERM);
    let server = server.end();

    assert!(
        asked.elapsed() < Duration::from_secs(30),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(server.code, Some(0), "{}", server.stderr);
    let (_, last) = drained(&server.stderr);
    assert!(last.contains(r#""message":"drained""#), "{last}");
    assert!(!last.contains(r#""forced":0,"#), "{last}");
    drop(clients);
}
