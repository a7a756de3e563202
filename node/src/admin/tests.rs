use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Config, Server};
use crate::{Readiness, SharedRegistry, Stage};

fn config() -> Config {
    Config {
        bind: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    }
}

struct Process {
    address: std::net::SocketAddr,
    registry: SharedRegistry,
    readiness: Readiness,
    stage: Stage,
}

fn start(config: &Config) -> Process {
    let (registry, readiness) = (SharedRegistry::default(), Readiness::default());
    let server = Server::bind(config, registry.clone(), readiness.clone())
        .expect("bind")
        .expect("an address is configured");
    Process {
        address: server.address(),
        registry,
        readiness,
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

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
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
    );
    assert!(server.expect("nothing to bind").is_none());
}
