//! What bounds a caller, and how a node that cannot be starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{MemoryConfig, MemoryPushLog};
use halley_backend::sessions::{MemorySessions, MemorySessionsConfig};
use halley_logic::config::LimitConfig;
use halley_logic::{Config, Deps, Logic};
use halley_node::grpc::Trust;
use halley_node::{Readiness, SharedRegistry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{Mood, Node, PATIENCE, config};

fn build(config: Config) -> anyhow::Result<Logic> {
    build_with(config, Trust::default())
}

fn build_with(config: Config, trust: Trust) -> anyhow::Result<Logic> {
    Logic::build(
        config,
        Deps {
            push_log: Arc::new(MemoryPushLog::new(MemoryConfig::default())),
            push_log_service: None,
            kafka: None,
            trust,
            sessions: Arc::new(MemorySessions::new(MemorySessionsConfig::default())),
            comets: None,
            dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
            registry: SharedRegistry::default(),
            readiness: Readiness::default(),
        },
    )
}

#[tokio::test]
async fn a_call_ends_although_the_sessions_hang() {
    let node = Node::start(|config| config.rpc.request_timeout = Duration::from_millis(100));
    let mut client = node.client().await;
    *node.sessions.mood.lock() = Mood::Hang;

    let login = timeout(PATIENCE, client.connect("comet-1", None, "{}")).await;
    let disconnect = timeout(PATIENCE, client.disconnect("comet-1", None, 7, "k")).await;

    assert!(login.expect("an end in time").is_err());
    assert!(disconnect.expect("an end in time").is_err());
    assert_eq!(
        node.metric("halley_logic_rpc_calls_total{method=\"connect\",outcome=\"cancelled\"}"),
        1
    );
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_turned_away_but_questions_are_not() {
    const PUSH: &str = "POST /goim/push/keys?operation=1&keys=k HTTP/1.1\r\nHost: test\r\n\
                        Connection: close\r\nContent-Length: 1\r\n\r\nx";
    let node = Node::start(|config| {
        config.limit = LimitConfig {
            min: 1,
            initial: 1,
            max: 1,
            waiting_max: 0,
            ..LimitConfig::default()
        }
    });
    let (mut client, mut other) = (node.client().await, node.client().await);
    *node.sessions.mood.lock() = Mood::Hang;

    let beyond = async {
        let hanging = node.sessions.hanging.acquire_many(2);
        hanging.await.expect("never closed").forget();
        let login = other.connect("comet-1", None, "{}").await.unwrap_err();
        let push = node.http(PUSH).await;
        *node.sessions.mood.lock() = Mood::Work;
        let heartbeat = other.heartbeat("comet-1", 1, 7, "k").await;
        (login, push, heartbeat)
    };
    let (login, push, heartbeat) = tokio::select! {
        seen = timeout(PATIENCE, beyond) => seen.expect("answers in time"),
        _ = client.connect("comet-1", None, "{}") => panic!("the sessions hang"),
        _ = node.http(PUSH) => panic!("the sessions hang"),
    };

    let text = "node has as much to do as it can";
    assert_eq!(login.code(), Code::ResourceExhausted);
    assert_eq!(login.message(), text);
    assert!(push.starts_with("HTTP/1.1 503 "), "{push}");
    assert!(push.contains("retry-after: 1\r\n"), "{push}");
    let envelope = format!(r#"{{"code":-503,"message":"{text}"}}"#);
    assert!(push.ends_with(&envelope), "{push}");
    heartbeat.expect("not limited");
    for sample in [
        "halley_logic_connects_total{outcome=\"shed\"}",
        "halley_logic_pushes_total{kind=\"keys\",outcome=\"refused\"}",
        "halley_logic_limit{entry=\"push\"}",
    ] {
        assert_eq!(node.metric(sample), 1, "{sample}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let node = Node::start(|config| config.http.head_timeout = Duration::from_millis(100));

    for start in [
        "",
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nA: b",
    ] {
        let mut stream = TcpStream::connect(node.addresses.http).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the node closes")
            .unwrap();
    }
}

#[tokio::test]
async fn an_idle_connection_is_given_up() {
    let node = Node::start(|config| config.http.head_timeout = Duration::from_millis(100));
    let mut stream = TcpStream::connect(node.addresses.http).await.unwrap();

    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();

    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("the node closes")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_has_a_size() {
    let node = Node::start(|config| config.http.head_bytes_max = 8192);
    let long = "x".repeat(10_000);

    let answer = node
        .http(&format!(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n"
        ))
        .await;

    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let node = Node::start(|config| config.http.connections_max = 1);
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut first = TcpStream::connect(node.addresses.http).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let mut second = TcpStream::connect(node.addresses.http).await.unwrap();
    second.write_all(request).await.unwrap();

    first
        .write_all(b"Host: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();

    for stream in [&mut first, &mut second] {
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .expect("both are answered")
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn insecure_logic_is_not_built_in_public() {
    let public: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let mut by_http = config();
    by_http.http.bind = public;
    let mut by_rpc = config();
    by_rpc.rpc.bind = public;
    let mut allowed = by_rpc.clone();
    allowed.auth.insecure.allow_public = true;

    for refused in [by_http, by_rpc] {
        let error = build(refused).unwrap_err();
        assert!(error.to_string().contains("allow_public"), "{error}");
    }
    allowed.rpc.bind = "127.0.0.1:0".parse().unwrap();
    allowed.http.bind = public;
    build(allowed).unwrap();
}

#[tokio::test]
async fn grpc_is_not_served_in_public_without_trust() {
    let mut config = config();
    config.rpc.bind = "0.0.0.0:0".parse().unwrap();
    config.auth.insecure.allow_public = true;

    let error = format!("{:#}", build(config.clone()).unwrap_err());
    assert!(error.contains("logic.rpc.bind") && error.contains("trust.allow_plaintext"));

    let allowed = halley_node::grpc::Config {
        allow_plaintext: true,
        ..halley_node::grpc::Config::default()
    };
    build_with(config, Trust::load(&allowed).unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let mut config = config();
    config.http.keys_file = Some("/nonexistent/keys".into());

    let error = format!("{:#}", build(config).unwrap_err());

    assert!(error.contains("/nonexistent/keys"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.rpc.bind = taken.local_addr().unwrap();
    let address = config.rpc.bind.to_string();

    let error = format!("{:#}", build(config).unwrap_err());

    assert!(error.contains(&address), "{error}");
}

#[tokio::test]
async fn the_node_can_be_watched() {
    let node = Node::start(|_| {});
    let mut client = node.client().await;
    client.connect("comet-1", None, "{}").await.unwrap();

    assert!(node.get("/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = async { while !node.get("/readyz").await.starts_with("HTTP/1.1 200") {} };
    timeout(PATIENCE, ready).await.expect("the node gets ready");
    let metrics = node.get("/metrics").await;
    for name in [
        "halley_logic_connects_total{outcome=\"accepted\"} 1",
        "halley_logic_rpc_calls_total{method=\"connect\",outcome=\"ok\"} 1",
        "halley_logic_rpc_call_seconds_count{method=\"connect\"} 1",
        "halley_logic_push_log_records 0",
        "halley_logic_push_log_bytes 0",
        "halley_logic_push_log_oldest_seconds 0",
        "halley_logic_nodes 0",
        "halley_logic_online_connections 0",
        "halley_logic_sink_queue_messages 0",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}
