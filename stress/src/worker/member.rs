//! The life of one connection: connect, log in, receive.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use halley_wire::{AuthBody, Header, Op, packet};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::beats::Beats;
use super::inbound::{Inbound, cause, poll_receive};
use super::life::Life;
use super::link::{self, Reader, Writer};
use super::post::{Post, State, masked};
use super::storm;
use crate::account::{Expected, Tracker, Verdict};
use crate::clock::now_ns;
use crate::messages::{Plan, ROOM_TYPE};
use crate::zipf::Zipf;

/// What a member that reads late leaves to its kernel, bytes: little, so that the server notices.
const SLOW_BUFFER_BYTES: u32 = 4096;

/// What a connection fails with that has nowhere to go.
const NO_TARGET: &str = "no address to connect to";

/// One connection.
pub(super) struct Member {
    /// Its number in the whole run.
    pub(super) number: u32,
    /// The stream of which it gets every message.
    pub(super) stream: u32,
    pub(super) home: u32,
    pub(super) websocket: bool,
    pub(super) slow: bool,
    pub(super) stage: Stage,
    pub(super) order: Order,
    /// Whether it ever was ready: only then is it expected to receive.
    pub(super) was_ready: bool,
    pub(super) writer: Option<Writer>,
    pub(super) inbound: Inbound,
    pub(super) tracker: Tracker,
    /// Of what everyone gets.
    pub(super) everyone: Option<Box<(u32, Tracker)>>,
    /// For members that come and go.
    pub(super) life: Option<Box<Life>>,
    pub(super) connect_ns: u64,
    pub(super) beats: Beats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Opening,
    LoggedIn,
    /// A heartbeat was answered: whatever the server does after its login answer is done.
    Ready,
    Gone,
}

/// What the end of a connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It was to stay: the server has lost it.
    Stay,
    /// It was to end.
    Leave,
    /// It was to end, and comes back.
    Return,
}

impl Member {
    pub(super) fn new(plan: &Plan, number: u32, zipf: Option<&Zipf>) -> Self {
        let home = plan.layout.home(number, zipf);
        let life = plan.day.map(|_| Box::new(Life::new(home)));
        Self {
            number,
            stream: plan.layout.stream(number, home),
            home,
            websocket: plan.uses_websocket(number),
            slow: plan.is_slow(number),
            stage: if plan.starts_online(number) {
                Stage::Opening
            } else {
                Stage::Gone
            },
            order: Order::Stay,
            was_ready: false,
            writer: None,
            inbound: Inbound::default(),
            tracker: Tracker::default(),
            everyone: plan
                .layout
                .everyone()
                .map(|stream| Box::new((stream, Tracker::default()))),
            life,
            connect_ns: 0,
            beats: Beats::default(),
        }
    }

    /// Where to count a message of a stream that was due at a moment; `None` for one that must not come.
    pub(super) fn tracker(&mut self, stream: u32, due_ns: u64) -> Option<&mut Tracker> {
        if stream == self.stream {
            return Some(&mut self.tracker);
        }
        if let Some((everyones, tracker)) = self.everyone.as_deref_mut()
            && stream == *everyones
        {
            return Some(tracker);
        }
        self.life.as_mut()?.tracker(stream, due_ns)
    }

    /// The accounts of every stream that it received; see [`Life::verdicts`].
    pub(super) fn verdicts(
        &self,
        streams: &BTreeMap<u32, Expected>,
        grace_ns: u64,
        mut each: impl FnMut(u32, Verdict),
    ) {
        if let Some(life) = &self.life {
            life.verdicts((self.stream, &self.tracker), streams, grace_ns, each);
            return;
        }
        let own = (self.stream, &self.tracker);
        let everyones = self
            .everyone
            .as_deref()
            .map(|(stream, tracker)| (*stream, tracker));
        let nothing = Expected::default();
        for (stream, tracker) in [own].into_iter().chain(everyones) {
            let expected = streams.get(&stream).unwrap_or(&nothing);
            each(stream, tracker.verdict(expected));
        }
    }

    /// Writes a small frame at once. The sockets are idle in this direction: not to fit means that the server does
    /// not read.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        match &self.writer {
            Some(writer) => writer.write(frame),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Has the connection end: its task reads what has arrived, then closes it.
    pub(super) fn hang_up(&mut self, order: Order, reset: bool, now_ns: u64) {
        self.order = order;
        if let Some(life) = &mut self.life {
            life.depart(now_ns);
        }
        if let Some(writer) = &self.writer {
            writer.shut_down(reset);
        }
    }
}

/// Opens a member's first connection and receives until it ends. The permit limits how many are being opened.
pub(super) async fn run(post: Arc<Post>, slot: usize, opening: OwnedSemaphorePermit) {
    let opened = attempt(&post, slot, now_ns()).await;
    drop(opening);
    let reader = {
        let state = &mut *post.state.lock();
        state.tally.attempted += 1;
        state.tally.opened_ns = now_ns();
        match opened {
            Ok(reader) => {
                state.tally.ready += 1;
                reader
            }
            Err(failure) => {
                *state.tally.failures.entry(failure).or_default() += 1;
                return;
            }
        }
    };
    stay(&post, slot, reader).await;
}

/// Receives until the connection ends for good.
pub(super) async fn stay(post: &Arc<Post>, slot: usize, mut reader: Reader) {
    loop {
        let reads_late = post.state.lock().members[slot].slow;
        let ended = if reads_late {
            receive_late(post, slot, &mut reader).await
        } else {
            poll_fn(|cx| poll_receive(post, slot, &mut reader, Stage::Gone, cx)).await
        };
        // The other half is dropped here: from now on the connection is closed.
        let order = note_end(post, slot, ended);
        drop(reader);
        if order != Order::Return {
            return;
        }
        match storm::come_back(post, slot).await {
            Some(back) => reader = back,
            None => return,
        }
    }
}

/// Reads what has come, then nothing for a while, until the end of the day.
async fn receive_late(post: &Post, slot: usize, reader: &mut Reader) -> Result<(), String> {
    let pause = Duration::from_millis(post.plan.day.map_or(0, |day| day.slow_pause_ms));
    let settling = &post.signals.settling;
    while settling
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
    {
        let ended = poll_fn(
            |cx| match poll_receive(post, slot, reader, Stage::Gone, cx) {
                Poll::Pending => Poll::Ready(None),
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
            },
        );
        if let Some(ended) = ended.await {
            return ended;
        }
    }
    poll_fn(|cx| poll_receive(post, slot, reader, Stage::Gone, cx)).await
}

/// Notes how a connection ended.
fn note_end(post: &Post, slot: usize, ended: Result<(), String>) -> Order {
    let State { members, tally, .. } = &mut *post.state.lock();
    let member = &mut members[slot];
    member.stage = Stage::Gone;
    member.writer = None;
    tally.open -= 1;
    if let Some(life) = &mut member.life
        && life.gone(now_ns())
    {
        tally.turnover.changes_abandoned += 1;
    }
    let unanswered = member.beats.give_up();
    let lost = match ended {
        Err(cause) if member.order == Order::Stay => Some(cause),
        Ok(()) | Err(_) => None,
    };
    match lost {
        Some(cause) => {
            let disconnects = if member.slow {
                &mut tally.slow.disconnects
            } else {
                &mut tally.disconnects
            };
            *disconnects.entry(cause).or_default() += 1;
            tally.heartbeats_lost += unanswered;
        }
        None => tally.heartbeats_abandoned += unanswered,
    }
    member.order
}

/// Opens a connection until it is ready. Its handshake counts from `from_ns`.
pub(super) async fn attempt(post: &Post, slot: usize, from_ns: u64) -> Result<Reader, String> {
    let deadline = Duration::from_millis(post.plan.connect_timeout_ms);
    // Boxed, so that what opening needs is not kept for the connection's whole life.
    let opening = Box::pin(async {
        let mut reader = log_in(post, slot, from_ns).await?;
        post.send_heartbeat(slot).map_err(|error| cause(&error))?;
        poll_fn(|cx| poll_receive(post, slot, &mut reader, Stage::Ready, cx)).await?;
        Ok(reader)
    });
    let opened = timeout(deadline, opening)
        .await
        .unwrap_or_else(|_| Err("timed out".to_owned()));
    let State { members, tally, .. } = &mut *post.state.lock();
    let member = &mut members[slot];
    if opened.is_ok() {
        member.was_ready = true;
        tally.open += 1;
    } else {
        // What was sent while opening was never owed an answer.
        tally.heartbeats_abandoned += member.beats.give_up();
        give_up(member);
        if let Some(life) = &mut member.life {
            life.gone(now_ns());
        }
    }
    opened
}

/// Forgets a connection that never was one.
pub(super) fn give_up(member: &mut Member) {
    member.stage = Stage::Gone;
    member.writer = None;
}

/// Connects and waits for the answer to the login.
pub(super) async fn log_in(post: &Post, slot: usize, from_ns: u64) -> Result<Reader, String> {
    let plan = &post.plan;
    let (number, websocket, reads_late) = {
        let member = &mut post.state.lock().members[slot];
        member.stage = Stage::Opening;
        member.order = Order::Stay;
        member.inbound = Inbound::default();
        member.connect_ns = from_ns;
        (member.number, member.websocket, member.slow)
    };
    let target = plan.target(number).ok_or(NO_TARGET)?;
    let stream = connect(plan, number, target.address, reads_late).await?;
    let (mut reader, writer) = link::open(post.tls.as_ref(), target, stream).await?;
    {
        let member = &mut post.state.lock().members[slot];
        if let Some(life) = &mut member.life {
            life.enter();
        }
        let room = member.life.as_ref().map_or(member.home, |life| life.room());
        member.writer = Some(writer);
        member
            .write(&login(plan, number, room, websocket))
            .map_err(|error| cause(&error))?;
    }
    poll_fn(|cx| poll_receive(post, slot, &mut reader, Stage::LoggedIn, cx))
        .await
        .map_err(|ended| format!("login: {ended}"))?;
    Ok(reader)
}

async fn connect(
    plan: &Plan,
    number: u32,
    address: SocketAddr,
    reads_late: bool,
) -> Result<TcpStream, String> {
    let attempt = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if address.is_ipv4()
            && let Some(source) = plan.source(number)
        {
            socket.bind((source, 0).into())?;
        }
        if reads_late {
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        socket.set_nodelay(true)?;
        socket.connect(address).await
    };
    attempt.await.map_err(|error: io::Error| cause(&error))
}

fn login(plan: &Plan, number: u32, room: u32, websocket: bool) -> Vec<u8> {
    let auth = AuthBody {
        mid: Plan::mid(plan.run, number),
        key: Plan::key(plan.run, number),
        room_id: room_id(plan.run, room),
        platform: "stress".to_owned(),
        accepts: vec![plan.operation],
        ..AuthBody::default()
    };
    request(Op::AUTH, auth.to_json().as_bytes(), websocket)
}

/// A room as clients name it.
pub(super) fn room_id(run: u64, room: u32) -> String {
    format!("{ROOM_TYPE}://{}", Plan::room(run, room))
}

/// A request as it goes to the socket.
pub(super) fn request(op: Op, body: &[u8], websocket: bool) -> Vec<u8> {
    let header = Header { ver: 1, op, seq: 1 };
    let mut bytes = Vec::new();
    packet::encode(&mut bytes, header, body);
    if websocket { masked(&bytes) } else { bytes }
}
