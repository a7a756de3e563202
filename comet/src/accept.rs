//! Accepting sockets, whatever happens.
//!
//! No error ends an accept loop: running out of descriptors passes, and a peer
//! that gave up before it was accepted concerns nobody else.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use halley_wire::CloseReason;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::admission::{HandshakePermit, Permit};
use crate::event_loop::Served;
use crate::handshake::{Client, Failed};
use crate::hub::Hub;
use crate::task::Serve;
use crate::transport::{Framing, Plain, Stream, Tcp, Tls, WebSocket};

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

/// Accepts until the node stops accepting.
pub(crate) async fn accept(hub: Arc<Hub>, listener: TcpListener, speaks: Speaks) {
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
    let hub_ = Arc::clone(hub);
    match speaks {
        Speaks::Tcp => spawn_plain(hub, move || tcp(hub_, stream, permits)),
        Speaks::WebSocket => spawn_plain(hub, move || websocket(hub_, stream, permits)),
        Speaks::TlsTcp(tls) => {
            let acceptor = tls.acceptor();
            spawn_tls(hub, move || async move {
                tcp(hub_, acceptor.accept(stream).await?, permits).await
            });
        }
        Speaks::TlsWebSocket(tls) => {
            let acceptor = tls.acceptor();
            spawn_tls(hub, move || async move {
                websocket(hub_, acceptor.accept(stream).await?, permits).await
            });
        }
    }
}

type Permits = (Permit, HandshakePermit);

async fn tcp<S: Stream>(
    hub: Arc<Hub>,
    stream: S,
    (permit, handshake): Permits,
) -> Result<Serve<Tcp, S::Io>, Failed> {
    Client::new(hub, stream, permit, handshake).log_in().await
}

async fn websocket<S: Stream>(
    hub: Arc<Hub>,
    stream: S,
    (permit, handshake): Permits,
) -> Result<Serve<WebSocket, S::Io>, Failed> {
    let mut client = Client::new(hub, stream, permit, handshake);
    client.upgrade().await?;
    client.log_in().await
}

/// Starts the handshake of a connection that an event loop serves then.
fn spawn_plain<F: Framing, H>(hub: &Arc<Hub>, handshake: impl FnOnce() -> H + Send + 'static)
where
    H: Future<Output = Result<Serve<F, Plain>, Failed>> + Send + 'static,
    Served: From<Serve<F, Plain>>,
{
    let (tasks, hub) = (hub.tasks.clone(), Arc::clone(hub));
    tasks.spawn(async move {
        if let Some(serve) = in_time(&hub, handshake).await {
            hub.event_loops.seat(serve.into(), hub.tasks.token());
        }
    });
}

/// Starts the task of a connection in TLS, which begins with a handshake.
fn spawn_tls<F: Framing, H>(hub: &Arc<Hub>, handshake: impl FnOnce() -> H + Send + 'static)
where
    H: Future<Output = Result<Serve<F, Tls>, Failed>> + Send + 'static,
{
    let (tasks, hub) = (hub.tasks.clone(), Arc::clone(hub));
    // Boxed, so that its size is given back after the login.
    let handshake = Box::pin(async move { in_time(&hub, handshake).await });
    tasks.spawn(Life::Handshake(handshake));
}

/// Makes and carries out a handshake; one that is moved in takes its place twice.
async fn in_time<F, I, H>(hub: &Hub, handshake: impl FnOnce() -> H) -> Option<Serve<F, I>>
where
    H: Future<Output = Result<Serve<F, I>, Failed>>,
{
    let started = Instant::now();
    hub.metrics.handshaking.inc();
    let deadline = started + hub.config.handshake.timeout;
    let result = tokio::select! {
        result = timeout_at(deadline, handshake()) => result.unwrap_or(Err(Failed::Timeout)),
        // Who has not logged in yet has nothing to be told.
        () = hub.accepting.cancelled() => Err(Failed::Closed(CloseReason::Draining)),
    };
    hub.metrics.handshaking.dec();
    match result {
        Ok(serve) => {
            hub.metrics.handshake("ok");
            let spent = started.elapsed().as_secs_f64();
            hub.metrics.handshake_seconds.observe(spent);
            Some(serve)
        }
        Err(failed) => {
            hub.metrics.handshake(failed.as_str());
            tracing::debug!(reason = failed.as_str(), "handshake failed");
            None
        }
    }
}

type Handshake<F> = Pin<Box<dyn Future<Output = Option<Serve<F, Tls>>> + Send>>;

/// The task of a connection in TLS, before and after its login.
enum Life<F> {
    Handshake(Handshake<F>),
    Serve(Serve<F, Tls>),
}

impl<F: Framing> Future for Life<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Self::Handshake(handshake) = this {
            match ready!(handshake.as_mut().poll(cx)) {
                Some(serve) => *this = Self::Serve(serve),
                None => return Poll::Ready(()),
            }
        }
        match this {
            Self::Serve(serve) => Pin::new(serve).poll(cx),
            Self::Handshake(_) => Poll::Pending,
        }
    }
}
