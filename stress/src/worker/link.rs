//! The bytes of a connection, in the clear or in TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use anyhow::Context as _;
use halley_client::{ConnectError, TlsOptions, upgrade};
use parking_lot::Mutex;
use rustix::net::Shutdown;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::inbound::cause;
use crate::messages::{Plan, Target, Upgrade};

/// What arrives.
pub(super) enum Reader {
    Plain(OwnedReadHalf),
    Tls(Arc<Mutex<TlsStream<TcpStream>>>),
}

/// What is sent.
pub(super) enum Writer {
    Plain(OwnedWriteHalf),
    Tls(Arc<Mutex<TlsStream<TcpStream>>>),
}

/// What does the TLS handshakes with the targets of a plan; `None` if all of them are in the clear.
pub(super) fn connector(plan: &Plan) -> anyhow::Result<Option<TlsConnector>> {
    let mut targets = plan.tcp.iter().chain(&plan.websocket);
    if targets.all(|target| target.tls_name.is_none()) {
        return Ok(None);
    }
    let options = match &plan.ca {
        Some(file) => TlsOptions::trust_file(file).context("--ca")?,
        None => TlsOptions::default(),
    };
    let connector = options.connector().context("tls")?;
    let mut config = connector.config().as_ref().clone();
    // Members are strangers to each other: none has another's ticket.
    config.resumption = Resumption::disabled();
    Ok(Some(Arc::new(config).into()))
}

/// Does the handshakes that a target asks for on an open socket.
pub(super) async fn open(
    tls: Option<&TlsConnector>,
    target: &Target,
    stream: TcpStream,
) -> Result<(Reader, Writer), String> {
    let (Some(name), Some(connector)) = (&target.tls_name, tls) else {
        let stream = upgraded(target.upgrade.as_ref(), stream).await?;
        let (reader, writer) = stream.into_split();
        return Ok((Reader::Plain(reader), Writer::Plain(writer)));
    };
    let name = ServerName::try_from(name.clone()).map_err(|error| error.to_string())?;
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| format!("tls handshake: {}", cause(&error)))?;
    let stream = upgraded(target.upgrade.as_ref(), stream).await?;
    let stream = Arc::new(Mutex::new(stream));
    Ok((Reader::Tls(Arc::clone(&stream)), Writer::Tls(stream)))
}

async fn upgraded<S>(to: Option<&Upgrade>, stream: S) -> Result<S, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(to) = to else {
        return Ok(stream);
    };
    let upgraded = upgrade(stream, &to.authority, &to.path).await;
    upgraded.map_err(|error| {
        if let ConnectError::Io(error) = &error {
            return format!("websocket handshake: {}", cause(error));
        }
        error.to_string()
    })
}

impl Reader {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(reader) => Pin::new(reader).poll_read(cx, buffer),
            Self::Tls(stream) => {
                match ready!(Pin::new(&mut *stream.lock()).poll_read(cx, buffer)) {
                    // An end without a farewell is an end, as it is in the clear.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        Poll::Ready(Ok(()))
                    }
                    read => Poll::Ready(read),
                }
            }
        }
    }
}

impl Writer {
    /// Writes all of a small frame at once, or fails.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::WriteZero);
        let written = match self {
            Self::Plain(writer) => writer.try_write(frame)?,
            Self::Tls(stream) => {
                let stream = &mut *stream.lock();
                // Nobody waits to write.
                let mut cx = Context::from_waker(Waker::noop());
                let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(&mut cx, frame) else {
                    return Err(full());
                };
                let Poll::Ready(flushed) = Pin::new(stream).poll_flush(&mut cx) else {
                    return Err(full());
                };
                flushed?;
                written?
            }
        };
        if written < frame.len() {
            return Err(full());
        }
        Ok(())
    }

    /// Has the reader find the end of what has arrived.
    pub(super) fn shut_down(&self, reset: bool) {
        let end = |stream: &TcpStream| {
            if reset {
                // Without it the close is an ordinary one, which is all that differs.
                let _ = stream.set_zero_linger();
            }
            // A connection that has ended by itself is being closed anyway.
            let _ = rustix::net::shutdown(stream, Shutdown::Read);
        };
        match self {
            Self::Plain(writer) => end(writer.as_ref()),
            Self::Tls(stream) => end(stream.lock().get_ref().0),
        }
    }
}
