//! A node, a logic to go with it, and clients.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_comet::{Addresses, Comet, Config};
use halley_node::grpc::Trust;
use halley_node::{DrainOutcome, Readiness, Registry};
use halley_proto::goim::comet::comet_server::Comet as Service;
use halley_proto::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq};
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::node::NodeStatus;
use halley_wire::{AuthBody, Header, Op, Packet, packet, raw, ws};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

pub(crate) use self::logic::TestLogic;

pub(crate) mod job;
mod logic;

/// How long anything may take before a test says that it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct Node {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) addresses: Addresses,
    pub(crate) logic: Arc<TestLogic>,
    pub(crate) status: watch::Receiver<NodeStatus>,
    pub(crate) drain: CancellationToken,
    pub(crate) now: CancellationToken,
    pub(crate) done: JoinHandle<anyhow::Result<DrainOutcome>>,
    registry: Registry,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let node = Self::try_start(&Trust::default(), configure).await;
        node.expect("the node is built")
    }

    #[allow(clippy::unused_async)]
    pub(crate) async fn try_start(
        trust: &Trust,
        configure: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config {
            server: "comet-1".to_owned(),
            ..Config::default()
        };
        config.tcp.bind = vec![any];
        config.websocket.bind = vec![any];
        config.tls.tcp_bind = vec![any];
        config.tls.websocket_bind = vec![any];
        config.rpc.bind = any;
        config.logic.online_interval = Duration::from_millis(50);
        config.drain.notice = Duration::ZERO;
        configure(&mut config);
        let logic = Arc::new(TestLogic::default());
        let mut registry = Registry::default();
        let readiness = Readiness::default();
        let comet = Comet::build(
            config,
            Arc::clone(&logic) as _,
            trust,
            &mut registry,
            &readiness,
        )?;
        let (service, addresses) = (comet.service(), comet.addresses().clone());
        let status = comet.status();
        let stage = comet.spawn();
        let (drain, now) = (stage.drain.clone(), stage.now.clone());
        #[allow(clippy::disallowed_methods)]
        let done = tokio::spawn(stage.done);
        Ok(Self {
            service,
            addresses,
            logic,
            status,
            drain,
            now,
            done,
            registry,
        })
    }

    pub(crate) async fn tcp(&self) -> Client {
        Client::tcp(self.addresses.tcp[0]).await
    }

    pub(crate) async fn websocket(&self) -> Client {
        Client::websocket(self.addresses.websocket[0], "/sub").await
    }

    /// Logs in over TCP.
    pub(crate) async fn log_in(&self, key: &str, room: &str) -> Client {
        let mut client = self.tcp().await;
        client.log_in(key, room).await;
        client
    }

    /// So many clients in one room, called `key-0` and so on.
    pub(crate) async fn crowd(&self, count: usize, room: &str) -> Vec<Client> {
        let mut clients = Vec::new();
        for number in 0..count {
            clients.push(self.log_in(&format!("key-{number}"), room).await);
        }
        clients
    }

    pub(crate) async fn push(&self, keys: &[&str], op: i32, body: &[u8]) {
        let request = PushMsgReq {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            proto_op: op,
            proto: Some(raw_proto(&[(op, body)])),
        };
        let pushed = self.service.push_msg(Request::new(request)).await;
        pushed.expect("the push is taken");
    }

    pub(crate) async fn push_room(&self, room: &str, messages: &[(i32, &[u8])]) {
        let request = BroadcastRoomReq {
            room_id: room.to_owned(),
            proto: Some(raw_proto(messages)),
        };
        let pushed = self.service.broadcast_room(Request::new(request)).await;
        pushed.expect("the push is taken");
    }

    pub(crate) async fn push_all(&self, op: i32, body: &[u8], speed: i32) -> Result<(), Code> {
        let request = BroadcastReq {
            proto_op: op,
            proto: Some(raw_proto(&[(op, body)])),
            speed,
        };
        let pushed = self.service.broadcast(Request::new(request)).await;
        pushed.map(|_| ()).map_err(|status| status.code())
    }

    /// The sum of a metric's samples whose line contains all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        self.metrics()
            .lines()
            .filter(|line| line.starts_with(&format!("halley_comet_{name}")))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// All metrics as they are scraped.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("metrics are encoded");
        text
    }

    /// Waits until every push is accounted for and returns (pushes, delivered, offline, dropped).
    pub(crate) async fn settled(&self) -> (u64, u64, u64, u64) {
        let count = || {
            let outcome = |name: &str| self.metric("push_outcomes_total", &[name]);
            (
                self.metric("pushes_total", &[]),
                outcome("\"delivered\""),
                outcome("\"offline\""),
                outcome("\"dropped\""),
            )
        };
        eventually("every push has an outcome", || {
            let (pushes, delivered, offline, dropped) = count();
            pushes == delivered + offline + dropped
        })
        .await;
        count()
    }

    pub(crate) async fn connections(&self, expected: u64) {
        eventually(&format!("{expected} connections"), || {
            self.metric("connections", &[]) == expected
        })
        .await;
    }
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, wait).await;
}

/// Bounds anything by the patience.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("never happened, {elapsed}: {what}"),
    }
}

/// What job sends.
pub(crate) fn raw_proto(messages: &[(i32, &[u8])]) -> Proto {
    let mut body = Vec::new();
    for (op, message) in messages {
        raw::push(&mut body, Op(*op), message);
    }
    Proto {
        ver: 1,
        op: Op::RAW.0,
        seq: 0,
        body: body.into(),
    }
}

/// TCP, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A goim client, as plain as can be.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    is_websocket: bool,
    read: Vec<u8>,
    decoder: ws::Decoder,
    waiting: std::collections::VecDeque<Packet>,
    seq: i32,
}

/// What a client sees of a close.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Option<u16>);

impl Client {
    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream, false)
    }

    /// A client whose kernel takes little that it does not read.
    pub(crate) async fn small(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Self::over(socket.connect(address).await.expect("connected"), false)
    }

    pub(crate) async fn websocket(address: SocketAddr, target: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Self::upgraded(stream, target).await
    }

    /// Upgrades a stream to WebSocket.
    pub(crate) async fn upgraded(stream: impl Stream + 'static, target: &str) -> Self {
        Self::upgraded_with(stream, target, "").await
    }

    /// Upgrades a stream to WebSocket, with more `headers` in the request.
    pub(crate) async fn upgraded_with(
        stream: impl Stream + 'static,
        target: &str,
        headers: &str,
    ) -> Self {
        let mut client = Self::over(stream, true);
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        );
        client.send_bytes(request.as_bytes()).await;
        let head_end = loop {
            let end = client.read.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(client.fill().await, "closed instead of upgraded");
        };
        assert!(client.read.starts_with(b"HTTP/1.1 101 "));
        client.read.drain(..head_end);
        client
    }

    pub(crate) fn over(stream: impl Stream + 'static, is_websocket: bool) -> Self {
        Self {
            stream: Box::new(stream),
            is_websocket,
            read: Vec::new(),
            decoder: ws::Decoder::default(),
            waiting: std::collections::VecDeque::new(),
            seq: 0,
        }
    }

    pub(crate) async fn log_in(&mut self, key: &str, room: &str) {
        let body = AuthBody {
            mid: 7,
            key: key.to_owned(),
            room_id: room.to_owned(),
            accepts: vec![1000],
            ..AuthBody::default()
        };
        self.send(Op::AUTH, body.to_json().as_ref()).await;
        assert_eq!(self.next().await.header.op, Op::AUTH_REPLY);
    }

    pub(crate) async fn send(&mut self, op: Op, body: &[u8]) {
        self.seq += 1;
        let header = Header {
            ver: 1,
            op,
            seq: self.seq,
        };
        let mut bytes = Vec::new();
        packet::encode(&mut bytes, header, body);
        if self.is_websocket {
            let mut frame = Vec::new();
            ws::encode_masked(&mut frame, ws::Opcode::Binary, &bytes, [1, 2, 3, 4]);
            bytes = frame;
        }
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The server may close at any byte; the test then sees that it did.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends a request and returns its reply; what is pushed meanwhile is kept.
    pub(crate) async fn call(&mut self, op: Op, body: &[u8]) -> Packet {
        self.send(op, body).await;
        let seq = self.seq;
        let mut pushed = std::collections::VecDeque::new();
        loop {
            let packet = self.next().await;
            if packet.header.seq == seq {
                pushed.append(&mut self.waiting);
                self.waiting = pushed;
                return packet;
            }
            pushed.push_back(packet);
        }
    }

    /// The room's online count, as a heartbeat tells it.
    pub(crate) async fn online(&mut self) -> i32 {
        let reply = self.call(Op::HEARTBEAT, b"").await;
        assert_eq!(reply.header.op, Op::HEARTBEAT_REPLY);
        i32::from_be_bytes(reply.body[..].try_into().expect("four bytes"))
    }

    /// The next packet, batches unpacked.
    pub(crate) async fn next(&mut self) -> Packet {
        match soon("a packet", self.next_or_closed()).await {
            Ok(packet) => packet,
            Err(closed) => panic!("closed instead of a packet: {closed:?}"),
        }
    }

    /// Waits until the server closes; packets until then are dropped.
    pub(crate) async fn closed(&mut self) -> Closed {
        soon("a close", async {
            loop {
                if let Err(closed) = self.next_or_closed().await {
                    return closed;
                }
            }
        })
        .await
    }

    pub(crate) async fn next_or_closed(&mut self) -> Result<Packet, Closed> {
        loop {
            if let Some(packet) = self.waiting.pop_front() {
                return Ok(packet);
            }
            if self.is_websocket {
                self.decode_websocket()?;
            } else {
                self.decode_tcp();
            }
            if self.waiting.is_empty() && !self.fill().await {
                return Err(Closed(None));
            }
        }
    }

    /// Waits until the server closes, whatever it sends before.
    pub(crate) async fn stream_ends(&mut self) {
        soon("the end of the stream", async {
            while self.fill().await {}
        })
        .await;
    }

    fn decode_tcp(&mut self) {
        let mut consumed = 0;
        while let Some((packet, taken)) =
            packet::decode(&self.read[consumed..], usize::MAX).expect("a good packet")
        {
            self.waiting.push_back(packet.to_packet());
            consumed += taken;
        }
        self.read.drain(..consumed);
    }

    fn decode_websocket(&mut self) -> Result<(), Closed> {
        let limits = ws::Limits {
            message_bytes_max: 16 << 20,
            ..ws::Limits::default()
        };
        let mut consumed = 0;
        while let Some((taken, event)) = self
            .decoder
            .next(&mut self.read[consumed..], &limits)
            .expect("a good frame")
        {
            consumed += taken;
            match event {
                ws::Event::Data { payload, .. } => {
                    let outer = packet::decode_message(payload, usize::MAX).expect("a packet");
                    if outer.header.op == Op::RAW && !outer.body.is_empty() {
                        let inner = raw::iter(outer.body).map(|inner| inner.expect("a packet"));
                        self.waiting.extend(inner.map(|inner| inner.to_packet()));
                    } else {
                        self.waiting.push_back(outer.to_packet());
                    }
                }
                ws::Event::Close { code, .. } => return Err(Closed(code)),
                ws::Event::Pong => self.waiting.push_back(Packet {
                    header: Header {
                        op: Op(-10),
                        ..Header::default()
                    },
                    body: Bytes::new(),
                }),
                ws::Event::Ping(_) | ws::Event::Fragment => {}
            }
        }
        self.read.drain(..consumed);
        Ok(())
    }

    async fn fill(&mut self) -> bool {
        self.read.reserve(64 << 10);
        matches!(self.stream.read_buf(&mut self.read).await, Ok(read) if read > 0)
    }
}

/// What `WS` pongs look like here.
pub(crate) const PONG: Op = Op(-10);

/// Rooms and their members, as logic would have them.
pub(crate) type Counts = HashMap<String, i32>;
