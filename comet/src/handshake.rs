//! From accept to login: TLS, the WebSocket upgrade, and packets up to the one
//! that authenticates. One deadline covers all of it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use halley_proto::remote::is_goims_error;
use halley_wire::{CloseReason, Header, Op};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tonic::{Code, Status};

use crate::admission::{HandshakePermit, Permit};
use crate::bucket::{Deadlines, Registered};
use crate::calls::Login;
use crate::clock::{Tick, ticks};
use crate::connection::Connection;
use crate::event_loop::Place;
use crate::hub::Hub;
use crate::renewals;
use crate::session::Grant;
use crate::task::{Serve, expiry};
use crate::transport::{Framing, Goodbye, Incoming, Stream, upgrade};

mod connecting;

use connecting::Connecting;

/// Bytes read at once before the login.
const READ_BYTES: usize = 1 << 10;

/// Why a handshake did not come to a login.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// It took longer than the deadline.
    #[error("handshake took too long")]
    Timeout,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The client did something that closes it.
    #[error("{}", .0.text())]
    Closed(CloseReason),
    /// The request was no WebSocket upgrade; it has been answered.
    #[error("not upgraded")]
    NotUpgraded,
}

impl Failed {
    /// The metric's label.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Io(_) => "io_error",
            Self::Closed(reason) => reason.as_str(),
            Self::NotUpgraded => "not_upgraded",
        }
    }
}

/// A client before its login.
pub(crate) struct Client<S, F> {
    hub: Arc<Hub>,
    stream: S,
    framing: F,
    /// Read and not understood yet.
    read: Vec<u8>,
    cookie: String,
    permit: Permit,
    handshake: HandshakePermit,
    place: Place,
}

impl<S: Stream, F: Framing> Client<S, F> {
    pub(crate) fn new(
        hub: Arc<Hub>,
        stream: S,
        (permit, handshake): (Permit, HandshakePermit),
        place: Place,
    ) -> Self {
        Self {
            hub,
            stream,
            framing: F::default(),
            read: Vec::new(),
            cookie: String::new(),
            permit,
            handshake,
            place,
        }
    }

    /// Answers the upgrade request.
    pub(crate) async fn upgrade(&mut self) -> Result<(), Failed> {
        let hub = Arc::clone(&self.hub);
        let rules = upgrade::Rules {
            path: &hub.config.websocket.path,
            allowed_origins: &hub.config.websocket.allowed_origins,
        };
        let rejected = loop {
            match upgrade::parse(&self.read, rules) {
                Ok(Some(upgrade)) => {
                    self.read.drain(..upgrade.consumed);
                    self.cookie = upgrade.cookie;
                    self.stream.write_all(&upgrade.response).await?;
                    self.stream.flush().await?;
                    return Ok(());
                }
                Ok(None) if self.read.len() >= hub.config.limits.upgrade_bytes_max => {
                    break upgrade::TOO_LARGE;
                }
                Ok(None) => self.read_more().await?,
                Err(rejected) => break rejected,
            }
        };
        self.stream.write_all(&rejected.response()).await?;
        self.stream.shutdown().await?;
        Err(Failed::NotUpgraded)
    }

    /// Reads up to the login and carries it out.
    pub(crate) async fn log_in(mut self) -> Result<Serve<F, S::Io>, Failed> {
        let (header, token) = match self.read_auth().await {
            Ok(auth) => auth,
            Err(failed) => {
                if let Failed::Closed(reason) = failed {
                    self.refuse(reason).await;
                }
                return Err(failed);
            }
        };
        let number = self.hub.logins.next();
        let cookie = std::mem::take(&mut self.cookie);
        match Connecting::new(&self.hub, number, token, cookie).await {
            Ok(login) => Ok(self.serve(number, header, login)),
            Err(status) => {
                tracing::debug!(error = status.message(), "login failed");
                let reason = if is_refusal(&status) {
                    CloseReason::AuthFailed
                } else {
                    CloseReason::Unavailable
                };
                self.refuse(reason).await;
                Err(Failed::Closed(reason))
            }
        }
    }

    async fn read_auth(&mut self) -> Result<(Header, Bytes), Failed> {
        let limits = self.hub.framing_limits();
        let mut ignored = 0;
        loop {
            let mut pong = Vec::new();
            let next = self.framing.next(&mut self.read, limits);
            let Some((consumed, incoming)) = next.map_err(Failed::Closed)? else {
                self.read_more().await?;
                continue;
            };
            let mut auth = None;
            match incoming {
                Incoming::Packet(packet) if packet.header.op == Op::AUTH => {
                    auth = Some((packet.header, Bytes::copy_from_slice(packet.body)));
                }
                Incoming::Packet(_) => {
                    self.hub.metrics.frame_before_auth();
                    ignored += 1;
                }
                Incoming::Ping(payload) => {
                    F::encode_pong(&mut pong, payload);
                    ignored += 1;
                }
                Incoming::Close(_) => return Err(Failed::Closed(CloseReason::PeerClosed)),
                Incoming::Pong => ignored += 1,
                // Counted with its message, whose fragments have a limit of their own.
                Incoming::Fragment => {}
            }
            self.read.drain(..consumed);
            if let Some(auth) = auth {
                return Ok(auth);
            }
            if ignored > self.hub.config.limits.packets_before_auth_max {
                return Err(Failed::Closed(CloseReason::TooManyBeforeAuth));
            }
            if !pong.is_empty() {
                self.stream.write_all(&pong).await?;
                self.stream.flush().await?;
            }
        }
    }

    /// Holds no room for what has not come.
    async fn read_more(&mut self) -> Result<(), Failed> {
        let (stream, read) = (&mut self.stream, &mut self.read);
        let bytes = poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            read.extend_from_slice(buffer.filled());
            Poll::Ready(io::Result::Ok(buffer.filled().len()))
        });
        if bytes.await? == 0 {
            return Err(Failed::Closed(CloseReason::PeerClosed));
        }
        Ok(())
    }

    /// Says goodbye as far as the dialect can; the handshake's deadline bounds it.
    async fn refuse(&mut self, reason: CloseReason) {
        let mut bytes = Vec::new();
        let goodbye = Goodbye {
            reason,
            answer: None,
            reconnect_ms: (0, 0),
        };
        F::encode_goodbye(&mut bytes, &goodbye);
        // The client may be gone already.
        let _ = self.stream.write_all(&bytes).await;
        let _ = self.stream.shutdown().await;
    }

    /// Registers the connection, which goes on from here.
    fn serve(self, number: u64, header: Header, login: Login) -> Serve<F, S::Io> {
        let hub = self.hub;
        let now = hub.now();
        let reply = login.reply;
        let grant = login.grant.map(|grant| Box::new(Grant::from_proto(&grant)));
        let (socket, io) = self.stream.into_parts();
        let key = reply.key.into_boxed_str();
        let connection = Connection::new(number, key, F::DIALECT, socket, self.place);
        let connection = Arc::new(connection);
        {
            let mut outgoing = connection.outgoing();
            // Before anything that a push may write.
            let mut answer = Vec::new();
            let header = Header {
                op: Op::AUTH_REPLY,
                ..header
            };
            F::encode(&mut answer, header, b"");
            outgoing.queue_reply(answer.into());
            outgoing.hold_back(true);
            let ops_max = hub.config.limits.accepts_max;
            outgoing
                .accepts()
                .add(reply.accepts, ops_max, &hub.accept_sets);
        }
        let deadlines = Deadlines {
            idle_ticks: idle_ticks(reply.heartbeat),
            expires: expiry(&hub, grant.as_deref()),
            renew: renewals::next(&hub, now),
        };
        let registered = hub
            .buckets
            .register(reply.mid, Arc::clone(&connection), deadlines, now);
        let slot = match registered {
            Registered::New(slot, replaced) => {
                if let Some(replaced) = replaced {
                    replaced.close(CloseReason::Replaced);
                }
                slot
            }
            Registered::Outdated(slot) => {
                // It is told so, once it has its answer.
                connection.close(CloseReason::Replaced);
                slot
            }
        };
        if hub.accepting.is_cancelled() {
            // Whoever sends the clients away may have been here already.
            connection.close(CloseReason::Draining);
        }
        hub.metrics.connections.inc();
        let join = match reply.room_id.as_str() {
            "" => None,
            _ if connection.closing() == Some(CloseReason::Replaced) => None,
            // As with a change of room: in none, and answered.
            room if !hub.session_limits().allow_room(room) => {
                hub.metrics.rooms_refused.inc();
                None
            }
            room => hub.join(room, &connection),
        };
        drop(self.handshake);
        let transport = (self.framing, io);
        let mut serve = Serve::new(
            hub,
            connection,
            slot,
            transport,
            &self.read,
            grant,
            self.permit,
        );
        serve.answer_login(join);
        serve
    }
}

/// Whether logic has decided against a login; whatever else fails is no decision.
fn is_refusal(status: &Status) -> bool {
    let is_ours = matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
    );
    is_ours || is_goims_error(status)
}

/// goim's idle deadline, in nanoseconds, as ticks; one that is not positive never comes.
fn idle_ticks(heartbeat_ns: i64) -> u32 {
    match u64::try_from(heartbeat_ns) {
        Ok(0) | Err(_) => Tick::NEVER.0,
        Ok(nanos) => ticks(Duration::from_nanos(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_deadline_is_logics_heartbeat_value() {
        assert_eq!(idle_ticks(480_000_000_000), 4800);
        assert_eq!(idle_ticks(1), 1);
        assert_eq!(idle_ticks(0), u32::MAX);
        assert_eq!(idle_ticks(-5), u32::MAX);
    }
}
