//! Acting on a client's packets and answering them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use halley_proto::goim::logic::ConnectReply;
use halley_wire::{CloseReason, Header, Op, PacketRef};

use super::seen_through::SeenThrough;
use super::{Called, Serve, is_answered, proto};
use crate::bucket::Identity;
use crate::clock::Tick;
use crate::delivery::Unconfirmed;
use crate::hub::Hub;
use crate::session::{self, Action, Grant, RoomChange};
use crate::tally::Tally;
use crate::transport::{Framing, Io};

impl<F: Framing, I: Io> Serve<F, I> {
    pub(super) fn on_packet(&mut self, packet: &PacketRef<'_>, replies: &mut Vec<u8>) {
        let header = packet.header;
        self.hub.metrics.frame_in(header.op);
        let limits = self.hub.session_limits();
        match session::on_packet(packet, self.grant.as_deref(), limits) {
            Action::Heartbeat { refresh } => {
                if refresh {
                    let now = self.hub.now();
                    self.hub.buckets.touch(self.slot, &self.connection, now);
                }
                let online = self.online();
                self.answer(header, &online.to_be_bytes(), replies);
            }
            Action::ChangeRoom(change) => match self.change_room(&change) {
                Some(join) => self.answer_join(join, header, packet.body),
                None => self.answer(header, packet.body, replies),
            },
            Action::Subscribe(ops) => {
                let ops_max = self.hub.config.limits.accepts_max;
                let sets = &self.hub.accept_sets;
                self.connection.outgoing().accepts().add(ops, ops_max, sets);
                self.answer(header, packet.body, replies);
            }
            Action::Unsubscribe(ops) => {
                let sets = &self.hub.accept_sets;
                self.connection.outgoing().accepts().remove(ops, sets);
                self.answer(header, packet.body, replies);
            }
            Action::Refresh(token) => self.refresh(header, Bytes::copy_from_slice(token)),
            Action::Forward => self.forward(header, packet.body),
        }
    }

    pub(super) fn finish_call(&mut self, called: Called) {
        let mut replies = Vec::new();
        match called {
            Called::Answer(header) if is_answered::<F>(header.op) => {
                self.answer(header, b"", &mut replies);
            }
            Called::Refreshed(header, grant) => {
                let expires = expiry(&self.hub, Some(&grant));
                self.hub
                    .buckets
                    .set_expires(self.slot, &self.connection, expires);
                self.grant = Some(grant);
                let header = Header {
                    op: Op::AUTH_REPLY,
                    ..header
                };
                self.answer(header, b"", &mut replies);
            }
            Called::LoggedIn => self.connection.outgoing().hold_back(false),
            Called::Joined(header, room) => self.answer(header, &room, &mut replies),
            Called::Answer(_) | Called::Disconnected => {}
        }
        if !replies.is_empty() {
            self.reply(replies);
        }
    }

    fn answer(&self, request: Header, body: &[u8], replies: &mut Vec<u8>) {
        let header = session::reply_header(request);
        F::encode(replies, header, body);
        self.hub.metrics.reply(header.op);
    }

    /// Members of the client's room on all nodes; 0 without a room.
    fn online(&self) -> i32 {
        let outgoing = self.connection.outgoing();
        let online = outgoing.room().map_or(0, |room| room.online());
        i32::try_from(online).unwrap_or(i32::MAX)
    }

    /// Sends the login's answer, which waits already, when the client's room is known.
    pub(crate) fn answer_login(&mut self, join: Option<Unconfirmed>) {
        let Some(join) = join else {
            self.connection.outgoing().hold_back(false);
            return;
        };
        let hub = Arc::clone(&self.hub);
        self.call = Some(Box::pin(async move {
            hub.held.confirmed(join).await;
            Called::LoggedIn
        }));
    }

    /// Answers a change of room when the new one is known.
    fn answer_join(&mut self, join: Unconfirmed, header: Header, room: &[u8]) {
        let hub = Arc::clone(&self.hub);
        let room = Bytes::copy_from_slice(room);
        self.call = Some(Box::pin(async move {
            hub.held.confirmed(join).await;
            Called::Joined(header, room)
        }));
    }

    fn change_room(&self, change: &RoomChange<'_>) -> Option<Unconfirmed> {
        let room = match change {
            RoomChange::Refused(_) => {
                self.hub.metrics.rooms_refused.inc();
                return None;
            }
            RoomChange::Leave => None,
            RoomChange::To(room) => Some(*room),
        };
        let current = self
            .connection
            .outgoing()
            .room()
            .map(|room| Arc::clone(room.name()));
        if current.as_deref() == room {
            return None;
        }
        let mut tally = Tally::default();
        self.hub.leave(&self.connection, &mut tally);
        tally.report(&self.hub.metrics);
        self.hub.join(room?, &self.connection)
    }

    fn forward(&mut self, header: Header, body: &[u8]) {
        let hub = Arc::clone(&self.hub);
        let proto = proto(header, body);
        let tasks = hub.tasks.clone();
        let identity = hub.buckets.identity(self.slot, &self.connection);
        let received = SeenThrough::new(tasks, async move {
            // Nobody answers for a connection that was replaced.
            if let Some(identity) = identity {
                hub.calls.receive(identity.mid, proto).await;
            }
        });
        self.call = Some(Box::pin(async move {
            received.await;
            Called::Answer(header)
        }));
    }

    fn refresh(&mut self, header: Header, token: Bytes) {
        let hub = Arc::clone(&self.hub);
        let connection = Arc::clone(&self.connection);
        let identity = hub.buckets.identity(self.slot, &self.connection);
        self.call = Some(Box::pin(async move {
            let login = hub
                .calls
                .connect(connection.id(), token, String::new(), true)
                .await;
            match (login, identity) {
                (Ok(login), Some(identity)) if is_same(&login.reply, &identity) => {
                    let grant = login.grant.unwrap_or_default();
                    Called::Refreshed(header, Box::new(Grant::from_proto(&grant)))
                }
                (Ok(_), Some(_)) => {
                    connection.close(CloseReason::AuthFailed);
                    Called::Disconnected
                }
                // The connection lives on until its grant ends; goim's echo
                // instead of a login's answer says that nothing was refreshed.
                _ => Called::Answer(header),
            }
        }));
    }
}

/// Whether a new token is the same client's; one that names no key fits any.
fn is_same(reply: &ConnectReply, identity: &Identity) -> bool {
    reply.mid == identity.mid && (reply.key.is_empty() || *reply.key == *identity.key)
}

/// The tick at which a grant ends.
pub(crate) fn expiry(hub: &Hub, grant: Option<&Grant>) -> Tick {
    let Some(expires_ms) = grant.and_then(Grant::expires_ms) else {
        return Tick::NEVER;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let expires = Duration::from_millis(u64::try_from(expires_ms).unwrap_or(0));
    hub.now().after(expires.saturating_sub(now))
}
