//! TCP and WebSocket over TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halley_comet::Config;
use halley_wire::HEADER_BYTES;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::interval;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Client, Closed, Node};

struct Authority {
    files: tempfile::TempDir,
    connector: TlsConnector,
}

impl Authority {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let files = tempfile::tempdir().expect("a folder");
        std::fs::write(files.path().join("cert.pem"), cert.pem()).expect("written");
        std::fs::write(files.path().join("key.pem"), signing_key.serialize_pem()).expect("written");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            files,
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.expect("connected");
        self.over(stream).await
    }

    async fn over(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        self.connector.connect(name, stream).await.expect("TLS")
    }

    async fn node(&self) -> Node {
        self.node_with(|_| {}).await
    }

    async fn node_with(&self, change: impl FnOnce(&mut Config)) -> Node {
        Node::start_with(|config| {
            config.tls.cert_files = vec![self.path().join("cert.pem")];
            config.tls.key_files = vec![self.path().join("key.pem")];
            config.delivery.ring_bytes_max = 256 << 10;
            config.delivery.write_deadline = Duration::from_secs(1);
            change(config);
        })
        .await
    }
}

#[tokio::test]
async fn both_transports_work_over_tls() {
    let authority = Authority::new();
    let node = authority.node().await;
    let stream = authority.connect(node.addresses.tls_tcp[0]).await;
    let mut tcp = Client::over(stream, false);
    tcp.log_in("tcp", "live://1").await;
    let stream = authority.connect(node.addresses.tls_websocket[0]).await;
    let mut websocket = Client::upgraded(stream, "/sub").await;
    websocket.log_in("websocket", "live://1").await;
    let mut plain = node.log_in("plain", "live://1").await;

    for number in 0..500u32 {
        node.push_room("live://1", &[(1000, &number.to_be_bytes())])
            .await;
    }
    node.push(&["tcp", "websocket", "plain"], 1000, b"end")
        .await;

    for client in [&mut tcp, &mut websocket, &mut plain] {
        let mut next = 0u32;
        let mut has_end = false;
        while next < 500 || !has_end {
            let body = client.next().await.body;
            if body == "end" {
                has_end = true;
            } else {
                assert_eq!(body, next.to_be_bytes()[..]);
                next += 1;
            }
        }
        assert_eq!(client.online().await, 3);
    }
    assert_eq!(node.settled().await, (1503, 1503, 0, 0));
}

#[tokio::test]
async fn a_tls_client_that_leaves_without_a_word_has_left() {
    let authority = Authority::new();
    let node = authority.node().await;
    let stream = authority.connect(node.addresses.tls_tcp[0]).await;
    let mut client = Client::over(stream, false);
    client.log_in("a", "").await;

    // No close_notify: only the stream below ends.
    drop(client);

    crate::support::eventually("closed", || {
        node.metric("closes_total", &["peer_closed"]) == 1
    })
    .await;
}

#[tokio::test]
async fn plain_bytes_on_a_tls_port_harm_only_themselves() {
    let authority = Authority::new();
    let node = authority.node().await;

    let mut plain = Client::tcp(node.addresses.tls_tcp[0]).await;
    plain.send_bytes(&[0; 64]).await;
    // The alert that comes back is no packet of ours.
    plain.stream_ends().await;

    let stream = authority.connect(node.addresses.tls_tcp[0]).await;
    Client::over(stream, false).log_in("a", "").await;
}

#[tokio::test]
async fn a_tls_client_that_does_not_read_is_closed_and_counted() {
    let authority = Authority::new();
    let node = authority.node().await;
    let stream = authority.connect(node.addresses.tls_websocket[0]).await;
    let mut slow = Client::upgraded(stream, "/sub").await;
    slow.log_in("slow", "live://1").await;
    let mut quick = node.log_in("quick", "live://1").await;
    let message = vec![b'x'; 60_000];

    for _ in 0..400 {
        node.push_room("live://1", &[(1000, &message)]).await;
        assert_eq!(quick.next().await.body.len(), message.len());
    }

    crate::support::eventually("closed", || {
        node.metric("closes_total", &["write_timeout"]) == 1
    })
    .await;
    let (pushes, delivered, offline, dropped) = node.settled().await;
    assert_eq!((pushes, delivered + offline + dropped), (800, 800));
    assert_ne!(slow.closed().await, Closed(Some(1000)));
}

/// All of it is in records before the first of them has left.
#[tokio::test]
async fn a_tls_client_that_takes_its_records_slowly_is_not_closed() {
    let authority = Authority::new();
    let deadline = Duration::from_secs(2);
    let node = authority
        .node_with(|config| {
            config.socket.send_buffer_bytes = 4096;
            config.delivery.write_deadline = deadline;
        })
        .await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(node.addresses.tls_tcp[0]).await;
    let stream = authority.over(stream.expect("connected")).await;
    let mut slow = Client::over(stream, false);
    slow.log_in("slow", "").await;
    let message = vec![b'x'; 60_000];
    node.push(&["slow"], 1000, &message).await;

    let mut left = message.len() + HEADER_BYTES;
    // A record of 16 KiB, which is read at once, lasts for most of a deadline.
    let mut portion = vec![0; 1_100];
    let mut period = interval(deadline / 20);
    while left > 0 {
        period.tick().await;
        let some = left.min(portion.len());
        let read = slow.stream.read_exact(&mut portion[..some]).await;
        left -= read.expect("the connection lives");
    }
    assert_eq!(slow.online().await, 0);
}
