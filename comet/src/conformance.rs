//! The WebSocket path without a gateway behind it: every message comes back.
//!
//! Conformance suites speak plain WebSocket, so this server checks text and
//! takes messages that are larger than any packet.

use std::io;

use halley_wire::ws::{self, Event, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::transport::upgrade;

const RULES: upgrade::Rules<'_> = upgrade::Rules {
    path: "/echo",
    allowed_origins: &[],
};
const LIMITS: ws::Limits = ws::Limits {
    message_bytes_max: 32 << 20,
    fragments_max: 1 << 20,
    utf8: true,
};
const READ_BYTES: usize = 64 << 10;

/// Serves `/echo` until the listener fails.
pub async fn echo(listener: TcpListener) -> io::Result<()> {
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        tasks.spawn(async move {
            // A peer that goes away is the suite's business.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        match upgrade::parse(&read, RULES) {
            Ok(Some(upgrade)) => {
                stream.write_all(&upgrade.response).await?;
                read.drain(..upgrade.consumed);
                break;
            }
            Ok(None) => {}
            Err(rejected) => return stream.write_all(&rejected.response()).await,
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    let mut decoder = ws::Decoder::default();
    loop {
        let mut answers = Vec::new();
        let is_over = answer(&mut decoder, &mut read, &mut answers);
        stream.write_all(&answers).await?;
        if is_over {
            return stream.shutdown().await;
        }
        read.reserve(READ_BYTES);
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
}

/// Answers everything in `read`; `true`: the connection is over.
fn answer(decoder: &mut ws::Decoder, read: &mut Vec<u8>, answers: &mut Vec<u8>) -> bool {
    let mut consumed = 0;
    let is_over = loop {
        let (taken, event) = match decoder.next(&mut read[consumed..], &LIMITS) {
            Ok(Some(next)) => next,
            Ok(None) => break false,
            Err(error) => {
                ws::encode_close(answers, error.close_code(), "");
                break true;
            }
        };
        consumed += taken;
        match event {
            Event::Data { text, payload } => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                ws::encode_header(answers, opcode, payload.len());
                answers.extend_from_slice(payload);
            }
            Event::Ping(payload) => {
                ws::encode_header(answers, Opcode::Pong, payload.len());
                answers.extend_from_slice(payload);
            }
            Event::Close { code, .. } => {
                match code {
                    Some(code) => ws::encode_close(answers, code, ""),
                    None => ws::encode_header(answers, Opcode::Close, 0),
                }
                break true;
            }
            Event::Pong | Event::Fragment => {}
        }
    };
    read.drain(..consumed);
    is_over
}
