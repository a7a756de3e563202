//! One link to a server: packets in, packets out, nothing else.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, StreamExt};
use halley_wire::{BODY_BYTES_MAX_DEFAULT, HEADER_BYTES, Op, Packet, PacketError, packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, LinkError};
use crate::tls::{TlsOptions, server_name};

/// Buffers of a link while it is idle. tungstenite's own default is 128 KiB each.
const BUFFER_BYTES: usize = 4096;

/// How a link is opened.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Whom to trust on `tls://` and `wss://`.
    pub tls: TlsOptions,
    /// Deadline for name, TCP, TLS and WebSocket handshake together.
    pub connect_timeout: Duration,
    /// The largest body that is accepted from the server, bytes. Servers do not limit pushes to the 4,096 bytes that
    /// they accept themselves.
    pub body_bytes_max: usize,
}

impl Default for ConnectionOptions {
    /// 10 s, 4 MiB and the system's certificates.
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(10),
            body_bytes_max: 1024 * BODY_BYTES_MAX_DEFAULT,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type BoxStream = Box<dyn Stream>;

/// An open link.
#[derive(Debug)]
pub struct Connection {
    reader: Reader,
    writer: Writer,
}

impl Connection {
    /// Opens a link. The server expects the login (op 7) as the first packet.
    pub async fn connect(
        endpoint: &Endpoint,
        options: &ConnectionOptions,
    ) -> Result<Self, ConnectError> {
        tokio::time::timeout(options.connect_timeout, Self::open(endpoint, options))
            .await
            .map_err(|_| ConnectError::TimedOut)?
    }

    async fn open(endpoint: &Endpoint, options: &ConnectionOptions) -> Result<Self, ConnectError> {
        let tcp = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        tcp.set_nodelay(true)?;
        let stream: BoxStream = if endpoint.transport().is_tls() {
            let connector = options.tls.connector()?;
            Box::new(
                connector
                    .connect(server_name(endpoint.host())?, tcp)
                    .await?,
            )
        } else {
            Box::new(tcp)
        };
        if !endpoint.transport().is_websocket() {
            let (read, write) = tokio::io::split(stream);
            return Ok(Self::new(
                Source::Tcp(TcpReader::new(read)),
                Output::Tcp(TcpWriter::new(write)),
                options,
            ));
        }
        let secure = endpoint.transport().is_tls();
        let socket = websocket(
            stream,
            secure,
            &endpoint.authority(),
            endpoint.path(),
            options.body_bytes_max,
        )
        .await?;
        let (sink, stream) = socket.split();
        Ok(Self::new(
            Source::Websocket(stream),
            Output::Websocket(sink),
            options,
        ))
    }

    fn new(source: Source, output: Output, options: &ConnectionOptions) -> Self {
        let body_bytes_max = options.body_bytes_max;
        Self {
            reader: Reader {
                source,
                batch: Bytes::new(),
                body_bytes_max,
            },
            writer: Writer { output },
        }
    }

    /// Sends one packet, see [`Writer::send`].
    pub async fn send(&mut self, packet: Packet) -> Result<(), LinkError> {
        self.writer.send(packet).await
    }

    /// Receives one packet, see [`Reader::recv`].
    pub async fn recv(&mut self) -> Result<Packet, LinkError> {
        self.reader.recv().await
    }

    /// Halves that work independently of each other.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

/// The receiving half of a [`Connection`].
#[derive(Debug)]
pub struct Reader {
    source: Source,
    /// What is left of a batch (op 9): whole packets back to back.
    batch: Bytes,
    body_bytes_max: usize,
}

impl Reader {
    /// The next packet. A batch comes out as the packets in it, so op 9 is never seen here.
    ///
    /// # Cancel safety
    /// No packet is lost or torn when the future is dropped.
    pub async fn recv(&mut self) -> Result<Packet, LinkError> {
        loop {
            if let Some(packet) = take_packet(&mut self.batch, self.body_bytes_max)? {
                return Ok(packet);
            }
            if !self.batch.is_empty() {
                return Err(PacketError::Truncated.into());
            }
            let packet = match &mut self.source {
                Source::Tcp(tcp) => tcp.recv(self.body_bytes_max).await?,
                Source::Websocket(stream) => recv_message(stream, self.body_bytes_max).await?,
            };
            if packet.header.op != Op::RAW {
                return Ok(packet);
            }
            self.batch = packet.body;
        }
    }
}

/// The sending half of a [`Connection`].
#[derive(Debug)]
pub struct Writer {
    output: Output,
}

impl Writer {
    /// Sends one packet and waits until the socket has taken it.
    ///
    /// # Cancel safety
    /// When the future is dropped the packet is sent either not at all or, by a later `send` or `close`, as a whole.
    pub async fn send(&mut self, packet: Packet) -> Result<(), LinkError> {
        match &mut self.output {
            Output::Tcp(tcp) => tcp.send(&packet).await.map_err(LinkError::from),
            Output::Websocket(sink) => send_message(sink, &packet).await,
        }
    }

    /// Says goodbye (a WebSocket close frame) and closes the sending direction.
    pub async fn close(&mut self) -> Result<(), LinkError> {
        match &mut self.output {
            Output::Tcp(tcp) => tcp.write.shutdown().await.map_err(LinkError::from),
            Output::Websocket(sink) => sink.close().await.map_err(websocket_error),
        }
    }
}

enum Source {
    Tcp(TcpReader),
    Websocket(SplitStream<WebSocketStream<BoxStream>>),
}

enum Output {
    Tcp(TcpWriter),
    Websocket(SplitSink<WebSocketStream<BoxStream>, Message>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Websocket(_) => "Websocket",
        })
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Websocket(_) => "Websocket",
        })
    }
}

struct TcpReader {
    read: ReadHalf<BoxStream>,
    buffer: BytesMut,
}

impl TcpReader {
    fn new(read: ReadHalf<BoxStream>) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
        }
    }

    async fn recv(&mut self, body_bytes_max: usize) -> Result<Packet, LinkError> {
        loop {
            if let Some((packet, consumed)) = packet::decode(&self.buffer, body_bytes_max)? {
                let header = packet.header;
                let mut whole = self.buffer.split_to(consumed).freeze();
                whole.advance(HEADER_BYTES);
                return Ok(Packet {
                    header,
                    body: whole,
                });
            }
            self.buffer.reserve(BUFFER_BYTES);
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Err(LinkError::Closed {
                    code: None,
                    reason: String::new(),
                });
            }
        }
    }
}

struct TcpWriter {
    write: WriteHalf<BoxStream>,
    /// Encoded packets that the socket has not taken yet.
    unwritten: VecDeque<u8>,
}

impl TcpWriter {
    fn new(write: WriteHalf<BoxStream>) -> Self {
        Self {
            write,
            unwritten: VecDeque::new(),
        }
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        self.unwritten
            .extend(packet::encode_header(packet.header, packet.body.len()));
        self.unwritten.extend(&packet.body);
        while !self.unwritten.is_empty() {
            if self.write.write_buf(&mut self.unwritten).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.write.flush().await
    }
}

/// Takes one packet off the front of a batch; `None` when no whole packet is left.
fn take_packet(batch: &mut Bytes, body_bytes_max: usize) -> Result<Option<Packet>, LinkError> {
    let Some((packet, consumed)) = packet::decode(batch, body_bytes_max)? else {
        return Ok(None);
    };
    let header = packet.header;
    let mut whole = batch.split_to(consumed);
    whole.advance(HEADER_BYTES);
    Ok(Some(Packet {
        header,
        body: whole,
    }))
}

async fn recv_message(
    stream: &mut SplitStream<WebSocketStream<BoxStream>>,
    body_bytes_max: usize,
) -> Result<Packet, LinkError> {
    loop {
        let closed = |code, reason| LinkError::Closed { code, reason };
        let message = match stream.next().await {
            None => return Err(closed(None, String::new())),
            Some(message) => message.map_err(websocket_error)?,
        };
        let payload = match message {
            Message::Binary(payload) => payload,
            Message::Text(text) => Bytes::from(text),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            Message::Close(None) => return Err(closed(None, String::new())),
            Message::Close(Some(frame)) => {
                return Err(closed(Some(frame.code.into()), frame.reason.to_string()));
            }
        };
        let packet = packet::decode_message(&payload, body_bytes_max)?;
        return Ok(Packet {
            header: packet.header,
            body: payload.slice_ref(packet.body),
        });
    }
}

async fn send_message(
    sink: &mut SplitSink<WebSocketStream<BoxStream>, Message>,
    packet: &Packet,
) -> Result<(), LinkError> {
    let mut message = Vec::with_capacity(HEADER_BYTES + packet.body.len());
    packet::encode(&mut message, packet.header, &packet.body);
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *sink).poll_ready(cx))
        .await
        .map_err(websocket_error)?;
    sink.start_send_unpin(Message::Binary(message.into()))
        .map_err(websocket_error)?;
    sink.flush().await.map_err(websocket_error)
}

fn websocket_error(error: tungstenite::Error) -> LinkError {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other error is told in its own words"
    )]
    match error {
        Error::Io(error) => LinkError::Io(error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkError::Closed {
            code: None,
            reason: String::new(),
        },
        other => LinkError::Websocket(other.to_string()),
    }
}

/// Does the client side of a WebSocket handshake and hands back the bare stream.
///
/// For programs that frame messages themselves. The server must not speak first, which no goim does: what it sends
/// together with its answer to the handshake is lost.
pub async fn upgrade<S>(stream: S, authority: &str, path: &str) -> Result<S, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = websocket(stream, false, authority, path, BODY_BYTES_MAX_DEFAULT).await?;
    Ok(socket.into_inner())
}

async fn websocket<S>(
    stream: S,
    secure: bool,
    authority: &str,
    path: &str,
    body_bytes_max: usize,
) -> Result<WebSocketStream<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message_bytes_max = body_bytes_max.saturating_add(HEADER_BYTES);
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let scheme = if secure { "wss" } else { "ws" };
    let url = format!("{scheme}://{authority}{path}");
    match client_async_with_config(url, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Io(error)) => Err(error.into()),
        Err(error) => Err(ConnectError::Upgrade {
            reason: error.to_string(),
        }),
    }
}
