//! Asks a broker whom it sees: the oldest version of the metadata request,
//! which every release answers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

const TIMEOUT: Duration = Duration::from_secs(5);
const METADATA: i16 = 3;
const VERSION: i16 = 0;
const CORRELATION: i32 = 1;
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The number of brokers that the one at `port` knows to be alive.
pub(super) fn brokers_seen_at(port: u16) -> Result<usize> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("connect to kafka")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&request())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).context("length of an answer")?;
    ensure!(length <= ANSWER_BYTES_MAX, "answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    // The correlation, then the list of brokers.
    let count = answer.get(4..8).context("answer is too short")?;
    let count = i32::from_be_bytes(count.try_into()?);
    usize::try_from(count).context("count of brokers")
}

fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    // No client id; no topics in particular.
    body.extend((-1_i16).to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    let length = i32::try_from(body.len()).expect("invariant: the request is short");
    [length.to_be_bytes().as_slice(), &body].concat()
}
