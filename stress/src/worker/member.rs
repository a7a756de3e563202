//! The life of one connection: connect, log in, receive.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_client::{ConnectError, upgrade};
use halley_wire::{AuthBody, Header, Op, packet, ws};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::inbound::{cause, poll_receive};
use super::post::{Post, Stage};
use crate::clock::now_ns;
use crate::messages::{Plan, ROOM_TYPE};

/// Opens a member's connection and receives until it ends. The permit limits how many are being opened.
pub(super) async fn run(post: Arc<Post>, slot: usize, opening: OwnedSemaphorePermit) {
    let deadline = Duration::from_millis(post.plan.connect_timeout_ms);
    // Boxed, so that what opening needs is not kept for the connection's whole life.
    let opened = timeout(deadline, Box::pin(open(&post, slot))).await;
    drop(opening);
    let opened = opened.unwrap_or_else(|_| Err("timed out".to_owned()));
    let mut reader = {
        let state = &mut *post.state.lock();
        state.tally.attempted += 1;
        state.tally.opened_ns = now_ns();
        match opened {
            Ok(reader) => {
                state.tally.ready += 1;
                state.members[slot].was_ready = true;
                reader
            }
            Err(failure) => {
                state.members[slot].stage = Stage::Gone;
                state.members[slot].writer = None;
                *state.tally.failures.entry(failure).or_default() += 1;
                return;
            }
        }
    };
    let ended = poll_fn(|cx| poll_receive(&post, slot, &mut reader, Stage::Gone, cx)).await;
    let state = &mut *post.state.lock();
    state.members[slot].stage = Stage::Gone;
    state.members[slot].writer = None;
    if let Err(ended) = ended {
        *state.tally.disconnects.entry(ended).or_default() += 1;
    }
}

async fn open(post: &Post, slot: usize) -> Result<OwnedReadHalf, String> {
    let plan = &post.plan;
    let (number, websocket) = {
        let member = &mut post.state.lock().members[slot];
        member.connect_ns = now_ns();
        (member.number, member.websocket)
    };
    let stream = if websocket {
        let target = &plan.websocket;
        let stream = connect(plan, number, target.address).await?;
        upgrade(stream, &target.authority, &target.path)
            .await
            .map_err(|error| refused(&error))?
    } else {
        connect(plan, number, plan.tcp).await?
    };
    let (mut reader, writer) = stream.into_split();
    {
        let member = &mut post.state.lock().members[slot];
        member.writer = Some(Arc::new(writer));
        member
            .write(&login(plan, number, websocket))
            .map_err(|error| cause(&error))?;
    }
    poll_fn(|cx| poll_receive(post, slot, &mut reader, Stage::LoggedIn, cx))
        .await
        .map_err(|ended| format!("login: {ended}"))?;
    post.send_heartbeat(slot).map_err(|error| cause(&error))?;
    poll_fn(|cx| poll_receive(post, slot, &mut reader, Stage::Ready, cx)).await?;
    Ok(reader)
}

async fn connect(plan: &Plan, number: u32, address: SocketAddr) -> Result<TcpStream, String> {
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
        socket.set_nodelay(true)?;
        socket.connect(address).await
    };
    attempt.await.map_err(|error: std::io::Error| cause(&error))
}

fn refused(error: &ConnectError) -> String {
    if let ConnectError::Io(error) = error {
        return format!("websocket handshake: {}", cause(error));
    }
    error.to_string()
}

fn login(plan: &Plan, number: u32, websocket: bool) -> Vec<u8> {
    let room = Plan::room(plan.run, number, plan.room_members);
    let auth = AuthBody {
        mid: Plan::mid(plan.run, number),
        key: Plan::key(plan.run, number),
        room_id: format!("{ROOM_TYPE}://{room}"),
        platform: "stress".to_owned(),
        accepts: vec![plan.operation],
        ..AuthBody::default()
    };
    let header = Header {
        ver: 1,
        op: Op::AUTH,
        seq: 1,
    };
    let mut bytes = Vec::new();
    packet::encode(&mut bytes, header, auth.to_json().as_bytes());
    if !websocket {
        return bytes;
    }
    let mut frame = Vec::new();
    ws::encode_masked(&mut frame, ws::Opcode::Binary, &bytes, rand::random());
    frame
}
