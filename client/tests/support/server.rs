//! A server that does what a test tells it, packet by packet.
#![allow(dead_code, reason = "each test uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use halley_client::{Endpoint, TlsOptions, Transport};
use halley_wire::{Header, Op, Packet, packet, raw};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::task::TaskTracker;

pub(crate) struct Server {
    transport: Transport,
    listener: TcpListener,
    certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One accepted connection.
pub(crate) enum Peer {
    Tcp {
        stream: Box<dyn Stream>,
        input: Vec<u8>,
    },
    Websocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

impl Server {
    pub(crate) async fn start(transport: Transport) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        Self {
            transport,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            certificate,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let host = if self.transport.is_tls() {
            "localhost"
        } else {
            "127.0.0.1"
        };
        Endpoint::new(
            self.transport,
            host,
            self.listener.local_addr().unwrap().port(),
        )
    }

    pub(crate) fn tls_options(&self) -> TlsOptions {
        TlsOptions::trust([self.certificate.clone()]).unwrap()
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let stream: Box<dyn Stream> = if self.transport.is_tls() {
            Box::new(self.acceptor.accept(stream).await.unwrap())
        } else {
            Box::new(stream)
        };
        if self.transport.is_websocket() {
            return Peer::Websocket(Box::new(
                tokio_tungstenite::accept_async(stream).await.unwrap(),
            ));
        }
        Peer::Tcp {
            stream,
            input: Vec::new(),
        }
    }
}

impl Peer {
    /// The next packet; `None` when the client has closed.
    pub(crate) async fn recv(&mut self) -> Option<Packet> {
        match self {
            Self::Tcp { stream, input } => loop {
                if let Some((packet, used)) = packet::decode(input, 4096).unwrap() {
                    let packet = packet.to_packet();
                    input.drain(..used);
                    return Some(packet);
                }
                if stream.read_buf(input).await.unwrap_or(0) == 0 {
                    return None;
                }
            },
            Self::Websocket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(payload))) => {
                    Some(packet::decode_message(&payload, 4096).unwrap().to_packet())
                }
                _ => None,
            },
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        self.send_bytes(&encode(&packet)).await;
    }

    /// Raw bytes on TCP, one message on a WebSocket.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp { stream, .. } => {
                stream.write_all(bytes).await.unwrap();
                stream.flush().await.unwrap();
            }
            Self::Websocket(socket) => {
                let message = Message::Binary(Bytes::copy_from_slice(bytes));
                socket.send(message).await.unwrap();
            }
        }
    }

    /// Pushes a batch as goim does: bare on TCP, inside op 9 on a WebSocket.
    pub(crate) async fn push(&mut self, messages: &[(i32, &[u8])]) {
        let mut batch = Vec::new();
        for (op, body) in messages {
            raw::push(&mut batch, Op(*op), body);
        }
        if let Self::Tcp { .. } = self {
            self.send_bytes(&batch).await;
            return;
        }
        let header = Header {
            ver: 1,
            op: Op::RAW,
            seq: 0,
        };
        self.send(Packet {
            header,
            body: batch.into(),
        })
        .await;
    }

    pub(crate) async fn goodbye(&mut self, body: &'static [u8]) {
        let header = Header {
            ver: 1,
            op: Op::DISCONNECT_REPLY,
            seq: 0,
        };
        let body = Bytes::from_static(body);
        self.send(Packet { header, body }).await;
    }

    /// Closes a WebSocket with a code.
    pub(crate) async fn close(&mut self, code: u16, reason: &'static str) {
        let Self::Websocket(socket) = self else {
            panic!("only a WebSocket has close codes")
        };
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        socket.send(Message::Close(Some(frame))).await.unwrap();
    }

    pub(crate) async fn until_closed(&mut self) {
        while self.recv().await.is_some() {}
        if let Self::Tcp { stream, .. } = self {
            // The client waits for the other direction.
            let _ = stream.shutdown().await;
        }
    }
}

pub(crate) fn encode(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet::encode(&mut bytes, packet.header, &packet.body);
    bytes
}

/// The answer to a request.
pub(crate) fn reply(request: &Packet, op: Op, body: &[u8]) -> Packet {
    Packet {
        header: Header {
            op,
            ..request.header
        },
        body: Bytes::copy_from_slice(body),
    }
}

/// An HTTP server for one request: its URL, and what it was asked.
pub(crate) async fn answer_once(body: String) -> (String, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (asked, question) = oneshot::channel();
    TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked.send(String::from_utf8(request).unwrap()).unwrap();
    });
    (format!("http://{address}"), question)
}
