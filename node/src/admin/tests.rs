use std::net::SocketAddr;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::FutureExt as _;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Config, Drain, Peer, Server};
use crate::{DrainOutcome, Drains, Readiness, SharedRegistry, Signals, Stage, run};

fn config() -> Config {
    Config {
        bind: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    }
}

struct Process {
    address: SocketAddr,
    registry: SharedRegistry,
    readiness: Readiness,
    drains: Drains,
    stage: Stage,
}

fn start(config: &Config) -> Process {
    let (registry, readiness) = (SharedRegistry::default(), Readiness::default());
    let drains = Drains::default();
    let server = Server::bind(config, registry.clone(), readiness.clone(), drains.clone())
        .expect("bind")
        .expect("an address is configured");
    Process {
        address: server.address(),
        registry,
        readiness,
        drains,
        stage: server.spawn(),
    }
}

impl Process {
    /// Serves while the test asks, then drains.
    async fn serve_while(self, test: impl Future<Output = ()>) {
        let drain = self.stage.drain.clone();
        let (done, ()) = tokio::join!(self.stage.done, async {
            test.await;
            drain.cancel();
        });
        done.expect("a clean end");
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\n")).await
}

/// Sends the first lines of a request without body.
async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = format!("{head}host: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("send");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("receive");
    response
}

#[tokio::test]
async fn readiness_names_what_it_waits_for() {
    let process = start(&config());
    let (address, readiness) = (process.address, process.readiness.clone());

    process
        .serve_while(async {
            assert!(
                get(address, "/healthz")
                    .await
                    .starts_with("HTTP/1.1 200 OK")
            );
            assert!(get(address, "/readyz").await.ends_with("ok"));

            let latch = readiness.latch("comet.tcp");
            let waiting = get(address, "/readyz").await;
            assert!(waiting.starts_with("HTTP/1.1 503 "), "{waiting}");
            assert!(waiting.ends_with("waiting for comet.tcp"), "{waiting}");

            latch.ready();
            assert!(get(address, "/readyz").await.ends_with("ok"));

            readiness.set_draining();
            let draining = get(address, "/readyz").await;
            assert!(draining.starts_with("HTTP/1.1 503 "), "{draining}");
            assert!(draining.ends_with("draining"), "{draining}");
            assert!(
                get(address, "/healthz")
                    .await
                    .starts_with("HTTP/1.1 200 OK")
            );
        })
        .await;
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let process = start(&config());
    let pushes = Counter::<u64>::default();
    pushes.inc_by(3);
    process
        .registry
        .lock()
        .register("halley_logic_pushes", "Pushes accepted", pushes);
    let address = process.address;

    process
        .serve_while(async {
            let text = get(address, "/metrics").await;
            assert!(text.contains("application/openmetrics-text"), "{text}");
            assert!(text.contains("halley_logic_pushes_total 3\n"), "{text}");
            assert!(text.ends_with("# EOF\n"), "{text}");
        })
        .await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_makes_room() {
    let process = start(&Config {
        connections_max: 1,
        header_deadline: Duration::from_millis(50),
        ..config()
    });
    let address = process.address;

    process
        .serve_while(async {
            let mut silent = TcpStream::connect(address).await.expect("connect");
            silent.write_all(b"GET /healthz HT").await.expect("send");
            assert!(get(address, "/healthz").await.ends_with("ok"));
        })
        .await;
}

#[test]
fn without_an_address_there_is_no_server() {
    let server = Server::bind(
        &Config::default(),
        SharedRegistry::default(),
        Readiness::default(),
        Drains::default(),
    );
    assert!(server.expect("nothing to bind").is_none());
}

#[tokio::test]
async fn a_drain_is_answered_with_how_it_went() {
    let Process {
        address,
        readiness,
        drains,
        stage,
        ..
    } = start(&config());
    let (drain, now) = (CancellationToken::new(), CancellationToken::new());
    let outcome = DrainOutcome {
        clean: 3,
        forced: 1,
    };
    let draining = drain.clone();
    let comet = Stage::new("comet", drain, now, async move {
        draining.cancelled().await;
        Ok(outcome)
    });
    let (_signals, none) = Signals::by_hand();

    let stages = vec![comet, stage];
    let (ended, answer) = tokio::join!(
        run(stages, Duration::from_secs(30), readiness, none, &drains),
        ask(address, "POST /drain HTTP/1.1\r\n"),
    );

    ended.expect("a clean end");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"clean":3,"forced":1}"#), "{answer}");
}

#[tokio::test]
async fn pages_in_a_browser_have_nothing_drain() {
    let process = start(&config());
    let (address, drains) = (process.address, process.drains.clone());

    process
        .serve_while(async {
            let post = "POST /drain HTTP/1.1\r\norigin: http://evil.example\r\n";
            assert!(ask(address, post).await.starts_with("HTTP/1.1 403 "));
            assert!(get(address, "/drain").await.starts_with("HTTP/1.1 405 "));
        })
        .await;
    assert!(drains.asked().now_or_never().is_none());
}

#[tokio::test]
async fn other_machines_have_it_drain_only_if_they_may() {
    let elsewhere = Extension(Peer("10.0.0.1:1".parse().unwrap()));
    let ask = async |remote| {
        let drains = Drains::default();
        drains.tell(DrainOutcome::default());
        let drain = State(Drain { drains, remote });
        let answer = super::drain(drain, elsewhere, HeaderMap::new()).await;
        answer.status()
    };

    assert_eq!(ask(false).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(true).await, StatusCode::OK);
}
