//! Halley's release binary, all roles in one process, on free ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use halley_tests::unconfigured;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::process::{hear, spawn};
use crate::scenario::Place;

/// Other than by default only in where it listens, what it logs, and in the certificate that it has.
const SETTINGS: [&str; 10] = [
    "--set=comet.tcp.bind=127.0.0.1:0",
    "--set=comet.websocket.bind=127.0.0.1:0",
    "--set=comet.tls.tcp_bind=127.0.0.1:0",
    "--set=comet.tls.websocket_bind=127.0.0.1:0",
    "--set=comet.rpc.bind=127.0.0.1:0",
    "--set=logic.http.bind=127.0.0.1:0",
    "--set=logic.rpc.bind=127.0.0.1:0",
    "--set=comet.server=comet-bench",
    "--log=error",
    "--banner",
];

/// In the folder of a certificate.
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A running server, killed with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    certificate: TempDir,
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
    tls_tcp: SocketAddr,
    tls_websocket: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Server {
    pub(crate) async fn start(halley: &Path) -> anyhow::Result<Self> {
        let mut command = Command::from(unconfigured(halley));
        let certificate = make_certificate().context("make a certificate")?;
        let file = |name| certificate.path().join(name).display().to_string();
        command
            .args(SETTINGS)
            .arg(format!("--set=comet.tls.cert_files={}", file(CERTIFICATE)))
            .arg(format!("--set=comet.tls.key_files={}", file(KEY)))
            .stdin(Stdio::null());
        let (child, mut stdout) = spawn(command)?;
        let mut lines = Vec::new();
        loop {
            let line = hear(&mut stdout).await.context("halley does not start")?;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let at = |name: &str, scheme: &str, path: &str| {
            let line = lines
                .iter()
                .find_map(|line| line.trim_start().strip_prefix(name));
            let address = line.with_context(|| format!("halley does not say its {name}"))?;
            let address = address
                .trim()
                .trim_start_matches(scheme)
                .trim_end_matches(path);
            address.parse().with_context(|| format!("read {address}"))
        };
        Ok(Self {
            child,
            certificate,
            tcp: at("tcp ", "tcp://", "")?,
            websocket: at("websocket ", "ws://", "/sub")?,
            tls_tcp: at("tcp in tls ", "tls://", "")?,
            tls_websocket: at("websocket in tls ", "wss://", "/sub")?,
            grpc: at("comet grpc ", "", "")?,
            http: at("http ", "http://", "")?,
        })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("halley has ended")
    }

    /// For scenarios.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        let comet = (self.tcp, self.websocket);
        Ok(Place::new([comet], [self.pid()?], self.http))
    }

    /// The same in TLS.
    pub(crate) fn place_in_tls(&self) -> anyhow::Result<Place> {
        let certificate = self.certificate.path().join(CERTIFICATE);
        let flags = vec![
            format!("--tcp=tls://{}", self.tls_tcp),
            format!("--ws=wss://{}/sub", self.tls_websocket),
            format!("--ca={}", certificate.display()),
            format!("--server-pid={}", self.pid()?),
        ];
        let http = self.http;
        Ok(Place { flags, http })
    }

    /// The counter of that name.
    pub(crate) async fn counter(&self, name: &str) -> anyhow::Result<u64> {
        let mut stream = TcpStream::connect(self.http).await?;
        let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "no metrics: {answer}");
        let mut lines = answer.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no metric {name}"))?;
        value.parse().with_context(|| format!("read {name}"))
    }
}

fn make_certificate() -> anyhow::Result<TempDir> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let folder = TempDir::new()?;
    std::fs::write(folder.path().join(CERTIFICATE), cert.pem())?;
    std::fs::write(folder.path().join(KEY), signing_key.serialize_pem())?;
    Ok(folder)
}
