//! A tiny goim: TCP, WebSocket and the push API, with faults on demand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use halley_wire::{AuthBody, Header, Op, PacketRef, packet, raw};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::TaskTracker;

/// What happens to one push on its way to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Once,
    Never,
    Twice,
    /// After the member's next message.
    Late,
    /// To the member with the next number instead.
    Astray,
    /// One byte short.
    Cut,
}

/// What the HTTP API makes of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Refuse,
    RefuseButDeliver,
    Fail,
    FailButDeliver,
}

/// What to do with a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Answer,
    Close,
    Ignore,
    /// Answers the login and closes after the second heartbeat.
    Drop,
}

/// What to do with a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    Answer,
    /// Answers it together with the next that is answered.
    Hold,
    Ignore,
}

/// The faults, by member number and by the number of the push.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) fate: fn(u32, u64) -> Fate,
    pub(crate) answer: fn(u64) -> Answer,
    /// Takes how often the member has logged in before.
    pub(crate) login: fn(u32, u32) -> Login,
    /// Takes how many heartbeats came over the connection before.
    pub(crate) beat: fn(u32, u32) -> Beat,
    /// Whether a change of room is answered and not made.
    pub(crate) deaf: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            fate: |_, _| Fate::Once,
            answer: |_| Answer::Accept,
            login: |_, _| Login::Answer,
            beat: |_, _| Beat::Answer,
            deaf: false,
        }
    }
}

pub(crate) struct Fake {
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
    pub(crate) http: SocketAddr,
}

struct Hub {
    faults: Faults,
    members: Mutex<HashMap<u32, Member>>,
    pushes: Mutex<HashMap<String, u64>>,
    logins: Mutex<HashMap<u32, u32>>,
}

struct Member {
    mid: i64,
    key: String,
    room: String,
    pushes: mpsc::UnboundedSender<Vec<u8>>,
    late: Option<Vec<u8>>,
}

impl Fake {
    /// Starts to serve on free ports of the current runtime.
    pub(crate) async fn start(faults: Faults) -> Self {
        let hub = Arc::new(Hub {
            faults,
            members: Mutex::default(),
            pushes: Mutex::default(),
            logins: Mutex::default(),
        });
        let tracker = TaskTracker::new();
        let mut addresses = Vec::new();
        for service in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (hub, connections) = (Arc::clone(&hub), tracker.clone());
            tracker.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let hub = Arc::clone(&hub);
                    connections.spawn(async move {
                        match service {
                            0 => serve_tcp(&hub, stream).await,
                            1 => serve_websocket(&hub, stream).await,
                            _ => serve_http(&hub, stream).await,
                        }
                    });
                }
            });
        }
        Self {
            tcp: addresses[0],
            websocket: addresses[1],
            http: addresses[2],
        }
    }

    /// The flags that point the tool here.
    pub(crate) fn flags(&self) -> String {
        format!("--tcp {} --ws ws://{}/sub", self.tcp, self.websocket)
    }
}

/// A logged-in connection's side of the protocol.
struct Session {
    member: u32,
    login: Login,
    heartbeats: u32,
    held: u32,
}

impl Session {
    /// What to answer; `None` closes.
    fn answer(
        &mut self,
        hub: &Hub,
        packet: PacketRef<'_>,
        pushes: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut reply = |op, body: &[u8]| {
            let header = Header {
                op,
                ..packet.header
            };
            packet::encode(&mut out, header, body);
        };
        match packet.header.op {
            Op::AUTH => {
                let auth = AuthBody::parse(packet.body).unwrap();
                self.member = auth.key.rsplit_once('-').unwrap().1.parse().unwrap();
                let before = {
                    let mut logins = hub.logins.lock();
                    let logins = logins.entry(self.member).or_default();
                    *logins += 1;
                    *logins - 1
                };
                self.login = (hub.faults.login)(self.member, before);
                match self.login {
                    Login::Close => return None,
                    Login::Ignore => return Some(out),
                    Login::Answer | Login::Drop => reply(Op::AUTH_REPLY, b""),
                }
                let member = Member {
                    mid: auth.mid,
                    key: auth.key,
                    room: auth.room_id,
                    pushes: pushes.clone(),
                    late: None,
                };
                hub.members.lock().insert(self.member, member);
            }
            Op::HEARTBEAT => {
                self.heartbeats += 1;
                if self.login == Login::Drop && self.heartbeats > 1 {
                    return None;
                }
                match (hub.faults.beat)(self.member, self.heartbeats - 1) {
                    Beat::Answer => {
                        for _ in 0..=std::mem::take(&mut self.held) {
                            reply(Op::HEARTBEAT_REPLY, &7_i32.to_be_bytes());
                        }
                    }
                    Beat::Hold => self.held += 1,
                    Beat::Ignore => {}
                }
            }
            Op::CHANGE_ROOM => {
                let room = String::from_utf8(packet.body.to_vec()).unwrap();
                // The member may have come back over another connection meanwhile.
                if let Some(member) = hub.members.lock().get_mut(&self.member)
                    && member.pushes.same_channel(pushes)
                    && !hub.faults.deaf
                {
                    member.room = room;
                }
                reply(Op::CHANGE_ROOM_REPLY, packet.body);
            }
            _ => {}
        }
        Some(out)
    }
}

fn session() -> Session {
    Session {
        member: 0,
        login: Login::Answer,
        heartbeats: 0,
        held: 0,
    }
}

async fn serve_tcp(hub: &Hub, stream: TcpStream) {
    let (mut read, mut write) = stream.into_split();
    let (sender, mut pushes) = mpsc::unbounded_channel::<Vec<u8>>();
    let (mut session, mut input) = (session(), Vec::new());
    loop {
        tokio::select! {
            read = read.read_buf(&mut input) => {
                if read.unwrap_or(0) == 0 {
                    return;
                }
            }
            Some(batch) = pushes.recv() => {
                // Every other member gets its messages in two pieces.
                let cut = if session.member % 2 == 0 { batch.len() } else { 11 };
                for piece in [&batch[..cut], &batch[cut..]] {
                    if write.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        while let Some((packet, used)) = packet::decode(&input, 4096).unwrap() {
            let Some(answer) = session.answer(hub, packet, &sender) else {
                return;
            };
            if write.write_all(&answer).await.is_err() {
                return;
            }
            input.drain(..used);
        }
    }
}

async fn serve_websocket(hub: &Hub, stream: TcpStream) {
    let (mut write, mut read) = tokio_tungstenite::accept_async(stream)
        .await
        .unwrap()
        .split();
    let (sender, mut pushes) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut session = session();
    loop {
        let mut message = Vec::new();
        tokio::select! {
            read = read.next() => {
                let payload = match read {
                    Some(Ok(Message::Binary(payload))) => payload,
                    Some(Ok(Message::Pong(_))) => continue,
                    _ => return,
                };
                let packet = packet::decode_message(&payload, 4096).unwrap();
                let Some(answer) = session.answer(hub, packet, &sender) else { return };
                message = answer;
            }
            Some(batch) = pushes.recv() => {
                if write.send(Message::Ping("still there?".into())).await.is_err() {
                    return;
                }
                let header = Header { ver: 1, op: Op::RAW, seq: 0 };
                packet::encode(&mut message, header, &batch);
            }
        }
        if !message.is_empty() && write.send(Message::Binary(message.into())).await.is_err() {
            return;
        }
    }
}

async fn serve_http(hub: &Hub, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(rest) = line.strip_prefix("POST ") {
                target = rest.split(' ').next().unwrap().to_owned();
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let (status, text) = hub.push(&target, &body);
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

impl Hub {
    fn push(&self, target: &str, body: &[u8]) -> (&'static str, &'static str) {
        let (path, query) = target.split_once('?').unwrap();
        let query: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let operation = Op(query["operation"].parse().unwrap());
        let push = {
            let mut pushes = self.pushes.lock();
            let next = pushes.entry(target.to_owned()).or_default();
            *next += 1;
            *next - 1
        };
        let answer = (self.faults.answer)(push);
        if matches!(
            answer,
            Answer::Accept | Answer::RefuseButDeliver | Answer::FailButDeliver
        ) {
            let receivers: Vec<u32> = self
                .members
                .lock()
                .iter()
                .filter(|(_, member)| match path {
                    "/goim/push/room" => {
                        member.room == format!("{}://{}", query["type"], query["room"])
                    }
                    "/goim/push/all" => true,
                    "/goim/push/keys" => member.key == query["keys"],
                    "/goim/push/mids" => member.mid.to_string() == query["mids"],
                    _ => panic!("{path}"),
                })
                .map(|(number, _)| *number)
                .collect();
            for receiver in receivers {
                self.deliver(receiver, push, operation, body);
            }
        }
        match answer {
            Answer::Accept => ("200 OK", r#"{"code":0,"message":""}"#),
            Answer::Refuse | Answer::RefuseButDeliver => ("503 Service Unavailable", ""),
            Answer::Fail | Answer::FailButDeliver => ("200 OK", r#"{"code":-500,"message":"no"}"#),
        }
    }

    fn deliver(&self, number: u32, push: u64, operation: Op, body: &[u8]) {
        let fate = (self.faults.fate)(number, push);
        let number = if fate == Fate::Astray {
            number + 1
        } else {
            number
        };
        let mut members = self.members.lock();
        let member = members.get_mut(&number).unwrap();
        let body = if fate == Fate::Cut {
            &body[..body.len() - 1]
        } else {
            body
        };
        let mut message = Vec::new();
        raw::push(&mut message, operation, body);
        if fate == Fate::Late {
            member.late = Some(message);
            return;
        }
        let mut batch = match fate {
            Fate::Never => Vec::new(),
            Fate::Twice => [message.clone(), message].concat(),
            Fate::Once | Fate::Late | Fate::Astray | Fate::Cut => message,
        };
        batch.extend(member.late.take().into_iter().flatten());
        if !batch.is_empty() {
            // A connection that has ended takes nothing.
            let _ = member.pushes.send(batch);
        }
    }
}
