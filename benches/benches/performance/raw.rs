//! The baseline: a plain loop of non-blocking `send` over as many sockets.

use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, ensure};
use halley_node::limits::raise_open_files;
use rustix::net::{SendFlags, send};
use socket2::{Domain, Socket, Type};

use crate::protocol::Announced;

/// As many as Halley lets wait to be accepted.
const BACKLOG: i32 = 16_384;

/// Serves the process that started this one, over standard input and output:
/// accepts `members` connections; then a line announces what to send, and each
/// empty one starts a pass.
pub(crate) fn run(members: usize) -> anyhow::Result<()> {
    raise_open_files().context("raise the limit on open files")?;
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Inherited by what is accepted, as it is in Halley.
    listener.set_tcp_nodelay(true)?;
    let any = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).context("bind")?;
    listener.listen(BACKLOG)?;
    let address = listener.local_addr()?.as_socket().context("an address")?;
    say(&address.to_string())?;
    let mut sockets = Vec::with_capacity(members);
    for _ in 0..members {
        let (socket, _) = listener.accept().context("accept")?;
        socket.set_nonblocking(true)?;
        sockets.push(TcpStream::from(socket));
    }
    say("ready")?;
    let mut bytes = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.is_empty() {
            pass(&sockets, &bytes)?;
        } else {
            bytes = line.parse::<Announced>()?.bytes;
        }
    }
    Ok(())
}

fn pass(sockets: &[TcpStream], bytes: &[u8]) -> anyhow::Result<()> {
    for socket in sockets {
        // Every socket is empty: the pass before was received.
        let sent = send(socket, bytes, SendFlags::NOSIGNAL).context("send")?;
        ensure!(sent == bytes.len(), "a socket took only a part");
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
