//! One logged-in connection: heartbeats, requests with their answers, pushes.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use halley_wire::{Header, Op, Packet};
use rand::RngExt;
use serde::Deserialize;
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::client::{Command, Request};
use crate::connection::{Connection, Reader, Writer};
use crate::driver::{Inbox, Pause, Wanted, failed};
use crate::error::{LinkError, RequestError};
use crate::event::{Disconnect, Event};
use crate::options::Options;

/// The version that goim's clients send.
const VERSION: i16 = 1;
/// How long a close waits for the server's answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// WebSocket: the endpoint is going away.
const GOING_AWAY: u16 = 1001;
/// WebSocket: the service restarts, reconnect.
const SERVICE_RESTART: u16 = 1012;
/// Halley: a newer login with the same key took this one's place.
const REPLACED: u16 = 4004;

/// Why a link ended.
pub(crate) enum End {
    /// The owner closed the client or dropped its events.
    Closed,
    /// The server asked the client to go elsewhere.
    Goodbye { reason: String, pause: Pause },
    /// A newer login took this one's place.
    Replaced,
    /// Everything else.
    Lost(Disconnect),
}

/// Logs in on a fresh connection. Packets before the answer are passed over.
pub(crate) async fn login(connection: &mut Connection, body: String) -> Result<(), Disconnect> {
    let refused = |error: LinkError| {
        if let LinkError::Closed { reason, .. } = error {
            return Disconnect::LoginRefused { reason };
        }
        failed(&error)
    };
    connection
        .send(packet(Op::AUTH, 0, body.into()))
        .await
        .map_err(refused)?;
    while connection.recv().await.map_err(refused)?.header.op != Op::AUTH_REPLY {}
    Ok(())
}

pub(crate) struct Link {
    reader: Reader,
    writer: Writer,
    seq: i32,
    waiting: HashMap<i32, Waiting>,
    requests_max: usize,
    request_timeout: Duration,
    heartbeat: Duration,
    heartbeat_timeout: Duration,
    next_heartbeat: Instant,
    /// When the oldest unanswered heartbeat was sent.
    unanswered_since: Option<Instant>,
    /// The server said goodbye: when to leave, and its words.
    leave: Option<(Instant, String)>,
    backoff: Backoff,
}

struct Waiting {
    deadline: Instant,
    answer: oneshot::Sender<Result<(), RequestError>>,
}

/// The body of a goodbye (op 6); both fields may be missing, and so may the whole body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Goodbye {
    reason: String,
    /// The shortest and the longest time before the client shall be somewhere else, milliseconds.
    reconnect_ms: Option<(u64, u64)>,
}

/// A goodbye cannot hold a client back for longer than this.
const RECONNECT_MS_MAX: u64 = 600_000;

impl Link {
    pub(crate) fn new(
        connection: Connection,
        options: &Options,
        heartbeat: Duration,
        backoff: Backoff,
    ) -> Self {
        let (reader, writer) = connection.split();
        Self {
            reader,
            writer,
            seq: 0,
            waiting: HashMap::new(),
            requests_max: options.requests_max.max(1),
            request_timeout: options.request_timeout,
            heartbeat,
            heartbeat_timeout: options.heartbeat_timeout,
            next_heartbeat: Instant::now(),
            unanswered_since: None,
            leave: None,
            backoff,
        }
    }

    /// Runs until the link ends. Requests without an answer then fail.
    ///
    /// What was asked for since `login` was written is said first: it was
    /// answered already.
    pub(crate) async fn run(
        mut self,
        login: &Wanted,
        inbox: &mut Inbox,
        events: &mpsc::Sender<Event>,
        closed: &CancellationToken,
    ) -> End {
        let end = match self.serve(login, inbox, events, closed).await {
            Ok(end) => end,
            Err(error) => self.lost(error),
        };
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.answer.send(Err(RequestError::Disconnected));
        }
        if matches!(end, End::Closed | End::Goodbye { .. }) {
            // Best effort: the link is given up in any case.
            let _ = timeout(CLOSE_TIMEOUT, self.close()).await;
        }
        end
    }

    async fn serve(
        &mut self,
        login: &Wanted,
        inbox: &mut Inbox,
        events: &mpsc::Sender<Event>,
        closed: &CancellationToken,
    ) -> Result<End, LinkError> {
        for request in inbox.wanted.since(login) {
            let (answer, _) = oneshot::channel();
            let command = Command { request, answer };
            self.request(command, inbox.wanted.login()).await?;
        }
        // A packet is read only when its event has a place in the queue.
        let mut place: Option<Permit<'_, Event>> = None;
        loop {
            let wake = self.wake_at(place.is_some());
            tokio::select! {
                () = closed.cancelled() => return Ok(End::Closed),
                reserved = events.reserve(), if place.is_none() => match reserved {
                    Ok(permit) => place = Some(permit),
                    Err(_) => return Ok(End::Closed),
                },
                packet = self.reader.recv(), if place.is_some() => {
                    if let Some(event) = self.receive(packet?) && let Some(place) = place.take() {
                        place.send(event);
                    }
                }
                command = inbox.commands.recv(), if self.waiting.len() < self.requests_max => {
                    let Some(command) = command else { return Ok(End::Closed) };
                    inbox.wanted.note(&command.request);
                    let login = inbox.wanted.login();
                    self.request(command, login).await?;
                }
                () = sleep_until(wake) => {
                    if let Some(end) = self.on_time(place.is_some()).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// The next moment at which something is due.
    fn wake_at(&self, reading: bool) -> Instant {
        let heartbeat_lost = self
            .unanswered_since
            .filter(|_| reading)
            .map(|since| since + self.heartbeat_timeout);
        let leave = self.leave.as_ref().map(|(at, _)| *at);
        let requests = self.waiting.values().map(|waiting| waiting.deadline).min();
        [heartbeat_lost, leave, requests]
            .into_iter()
            .flatten()
            .fold(self.next_heartbeat, Instant::min)
    }

    async fn on_time(&mut self, reading: bool) -> Result<Option<End>, LinkError> {
        let now = Instant::now();
        if let Some((at, reason)) = self.leave.take_if(|(at, _)| *at <= now) {
            let pause = Pause::Until(at);
            return Ok(Some(End::Goodbye { reason, pause }));
        }
        // An answer that waits in the socket because the events are not taken is not lost.
        if reading
            && self
                .unanswered_since
                .is_some_and(|since| since + self.heartbeat_timeout <= now)
        {
            return Ok(Some(End::Lost(Disconnect::HeartbeatLost)));
        }
        for (_, waiting) in self
            .waiting
            .extract_if(|_, waiting| waiting.deadline <= now)
        {
            let _ = waiting.answer.send(Err(RequestError::TimedOut));
        }
        if self.next_heartbeat <= now {
            self.next_heartbeat = now + self.heartbeat;
            self.unanswered_since.get_or_insert(now);
            let seq = self.next_seq();
            self.write(packet(Op::HEARTBEAT, seq, Bytes::new())).await?;
        }
        Ok(None)
    }

    async fn request(&mut self, command: Command, login: String) -> Result<(), LinkError> {
        let (op, body) = match command.request {
            Request::ChangeRoom(room) => (Op::CHANGE_ROOM, room.into()),
            Request::Subscribe(operations) => (Op::SUB, list(&operations)),
            Request::Unsubscribe(operations) => (Op::UNSUB, list(&operations)),
            Request::RefreshToken(_) => (Op::AUTH, login.into()),
            Request::Send { op, body } => (op, body),
        };
        let seq = self.next_seq();
        let waiting = Waiting {
            deadline: Instant::now() + self.request_timeout,
            answer: command.answer,
        };
        self.waiting.insert(seq, waiting);
        self.write(packet(op, seq, body)).await
    }

    async fn write(&mut self, packet: Packet) -> Result<(), LinkError> {
        timeout(self.request_timeout, self.writer.send(packet))
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }

    /// Sorts a packet: an answer, the server's goodbye, or an event.
    fn receive(&mut self, packet: Packet) -> Option<Event> {
        let Header { op, seq, .. } = packet.header;
        // Pushes have sequence number 0, which no request uses.
        if let Some(waiting) = self.waiting.remove(&seq) {
            let _ = waiting.answer.send(Ok(()));
            return None;
        }
        if op == Op::HEARTBEAT_REPLY {
            self.unanswered_since = None;
            let count = packet
                .body
                .first_chunk()
                .map_or(0, |count| i32::from_be_bytes(*count));
            return Some(Event::Online(count));
        }
        if op == Op::DISCONNECT_REPLY {
            self.goodbye(&packet.body);
            return None;
        }
        Some(Event::Message {
            op,
            body: packet.body,
        })
    }

    /// Chooses a moment to be somewhere else, so that not all clients move at once. Pushes go on until then, or until
    /// the server ends the link.
    fn goodbye(&mut self, body: &[u8]) {
        let goodbye: Goodbye = serde_json::from_slice(body).unwrap_or_default();
        let stay = match goodbye.reconnect_ms {
            Some((shortest, longest)) => {
                let longest = longest.min(RECONNECT_MS_MAX);
                let shortest = shortest.min(longest);
                Duration::from_millis(rand::rng().random_range(shortest..=longest))
            }
            None => self.backoff.spread(),
        };
        self.leave
            .get_or_insert((Instant::now() + stay, goodbye.reason));
    }

    fn lost(&mut self, error: LinkError) -> End {
        if let Some((at, reason)) = self.leave.take() {
            let pause = Pause::Until(at);
            return End::Goodbye { reason, pause };
        }
        let LinkError::Closed { code, reason } = error else {
            return End::Lost(failed(&error));
        };
        match code {
            Some(GOING_AWAY | SERVICE_RESTART) => {
                let pause = Pause::Spread;
                End::Goodbye { reason, pause }
            }
            Some(REPLACED) => End::Replaced,
            Some(_) | None => End::Lost(Disconnect::ByServer { code, reason }),
        }
    }

    async fn close(&mut self) -> Result<(), LinkError> {
        self.writer.close().await?;
        loop {
            self.reader.recv().await?;
        }
    }

    fn next_seq(&mut self) -> i32 {
        self.seq = self.seq.checked_add(1).unwrap_or(1);
        self.seq
    }
}

fn packet(op: Op, seq: i32, body: Bytes) -> Packet {
    let header = Header {
        ver: VERSION,
        op,
        seq,
    };
    Packet { header, body }
}

/// goim's list of operations: decimal numbers with commas and no spaces.
fn list(operations: &[i32]) -> Bytes {
    let texts: Vec<String> = operations.iter().map(ToString::to_string).collect();
    texts.join(",").into()
}
