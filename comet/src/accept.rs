//! Accepting sockets, whatever happens.
//!
//! No error ends an accept loop: running out of descriptors passes, and a peer
//! that gave up before it was accepted concerns nobody else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use halley_wire::CloseReason;
use tokio::io::Interest;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};

use crate::admission::{HandshakePermit, Permit};
use crate::event_loop::{Place, Seat};
use crate::handshake::{Client, Failed};
use crate::hub::Hub;
use crate::task::Serve;
use crate::transport::{Stream, Tcp, WebSocket};
use crate::watch::{Watched, watch};

/// Pause after the first failed accept; doubled with each further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
/// Longest pause between failed accepts.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// What a listener speaks.
#[derive(Clone)]
pub(crate) enum Speaks {
    Tcp,
    WebSocket,
    TlsTcp(Arc<halley_node::tls::Tls>),
    TlsWebSocket(Arc<halley_node::tls::Tls>),
}

impl Speaks {
    /// For messages about the listener.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::WebSocket => "WebSocket",
            Self::TlsTcp(_) => "TCP over TLS",
            Self::TlsWebSocket(_) => "WebSocket over TLS",
        }
    }
}

/// A listener whose sockets tokio does not wait for.
pub(crate) struct Listener {
    listener: mio::net::TcpListener,
    ready: Watched,
}

impl Listener {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self {
            ready: watch(&listener)?,
            listener: mio::net::TcpListener::from_std(listener.into_std()?),
        })
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = || self.listener.accept();
        let (stream, peer) = self.ready.async_io(Interest::READABLE, accept).await?;
        Ok((stream.into(), peer))
    }
}

/// Accepts until the node stops accepting.
pub(crate) async fn accept(hub: Arc<Hub>, listener: Listener, speaks: Speaks) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.accepting.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_MIN;
                admit(&hub, stream, peer, &speaks);
            }
            Err(error) => {
                hub.metrics.accept_errors.inc();
                tracing::warn!(%error, pause_ms = back_off.as_millis(), "accept");
                sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

fn admit(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr, speaks: &Speaks) {
    hub.metrics.accepted.inc();
    let address: IpAddr = peer.ip().to_canonical();
    let permits = match hub.admission.admit(address) {
        Ok(permits) => permits,
        Err(refused) => {
            hub.metrics.handshake(refused.as_str());
            return;
        }
    };
    let started = Instant::now();
    let (hub, loops, resident) = (Arc::clone(hub), &hub.event_loops, hub.tasks.token());
    match speaks {
        Speaks::Tcp => loops.spawn(stream, resident, |socket, place| {
            in_time(hub, started, move |hub| tcp(hub, socket, permits, place))
        }),
        Speaks::WebSocket => loops.spawn(stream, resident, |socket, place| {
            in_time(hub, started, move |hub| {
                websocket(hub, socket, permits, place)
            })
        }),
        Speaks::TlsTcp(tls) => loops.spawn(stream, resident, |socket, place| {
            let accept = tls.acceptor().accept(socket);
            in_time(hub, started, move |hub| async move {
                tcp(hub, accept.await?, permits, place).await
            })
        }),
        Speaks::TlsWebSocket(tls) => loops.spawn(stream, resident, |socket, place| {
            let accept = tls.acceptor().accept(socket);
            in_time(hub, started, move |hub| async move {
                websocket(hub, accept.await?, permits, place).await
            })
        }),
    }
}

type Permits = (Permit, HandshakePermit);

async fn tcp<S: Stream>(
    hub: Arc<Hub>,
    stream: S,
    permits: Permits,
    place: Place,
) -> Result<Serve<Tcp, S::Io>, Failed> {
    Client::new(hub, stream, permits, place).log_in().await
}

async fn websocket<S: Stream>(
    hub: Arc<Hub>,
    stream: S,
    permits: Permits,
    place: Place,
) -> Result<Serve<WebSocket, S::Io>, Failed> {
    let mut client = Client::new(hub, stream, permits, place);
    client.upgrade().await?;
    client.log_in().await
}

/// Makes and carries out a handshake, which is made here since a future that is
/// moved into another is stored twice.
async fn in_time<F, I, H>(
    hub: Arc<Hub>,
    started: Instant,
    handshake: impl FnOnce(Arc<Hub>) -> H,
) -> Option<Seat>
where
    H: Future<Output = Result<Serve<F, I>, Failed>>,
    Seat: From<Serve<F, I>>,
{
    hub.metrics.handshaking.inc();
    let deadline = started + hub.config.handshake.timeout;
    let handshake = || handshake(Arc::clone(&hub));
    let result = tokio::select! {
        biased;
        // Who has not logged in yet has nothing to be told.
        () = hub.accepting.cancelled() => Err(Failed::Closed(CloseReason::Draining)),
        result = timeout_at(deadline, handshake()) => result.unwrap_or(Err(Failed::Timeout)),
    };
    hub.metrics.handshaking.dec();
    match result {
        Ok(serve) => {
            hub.metrics.handshake("ok");
            let spent = started.elapsed().as_secs_f64();
            hub.metrics.handshake_seconds.observe(spent);
            Some(serve.into())
        }
        Err(failed) => {
            hub.metrics.handshake(failed.as_str());
            tracing::debug!(reason = failed.as_str(), "handshake failed");
            None
        }
    }
}
