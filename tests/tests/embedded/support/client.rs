//! A client over any transport.

use std::collections::VecDeque;

use bytes::Bytes;
use halley_client::{Connection, ConnectionOptions, Endpoint, LinkError};
use halley_wire::{AuthBody, Header, Op, Packet};

use super::soon;

/// The operation of the pushes here, which every [`user`] accepts.
pub(crate) const PUSHED: Op = Op(1000);

/// The end of a connection, with a WebSocket's close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Option<u16>);

pub(crate) struct Client {
    connection: Connection,
    seq: i32,
    /// Came while a reply was waited for.
    pushed: VecDeque<Packet>,
}

/// Who logs in; an empty `room` is none.
pub(crate) fn user(mid: i64, key: &str, room: &str) -> AuthBody {
    AuthBody {
        mid,
        key: key.to_owned(),
        room_id: room.to_owned(),
        accepts: vec![PUSHED.0],
        ..AuthBody::default()
    }
}

impl Client {
    pub(crate) async fn connect(endpoint: &Endpoint, options: &ConnectionOptions) -> Self {
        let connection = Connection::connect(endpoint, options).await;
        Self {
            connection: connection.expect("connected"),
            seq: 0,
            pushed: VecDeque::new(),
        }
    }

    pub(crate) async fn log_in(&mut self, body: impl Into<Bytes>) {
        self.send(Op::AUTH, body).await;
        let reply = self.next().await.expect("an answer to the login");
        assert_eq!(reply.header.op, Op::AUTH_REPLY);
    }

    pub(crate) async fn send(&mut self, op: Op, body: impl Into<Bytes>) -> Header {
        self.seq += 1;
        let (ver, seq) = (1, self.seq);
        let header = Header { ver, op, seq };
        let body = body.into();
        // The server may have closed; the test then sees that it did.
        let _ = self.connection.send(Packet { header, body }).await;
        header
    }

    /// Sends a request and waits for its reply.
    pub(crate) async fn call(&mut self, op: Op, body: impl Into<Bytes>) -> Packet {
        let sent = self.send(op, body).await;
        loop {
            let packet = soon("a reply", self.receive()).await.expect("a reply");
            if packet.header.seq == sent.seq {
                return packet;
            }
            self.pushed.push_back(packet);
        }
    }

    /// The members of its room, as a heartbeat tells them.
    pub(crate) async fn online(&mut self) -> i32 {
        let reply = self.call(Op::HEARTBEAT, "").await;
        assert_eq!(reply.header.op, Op::HEARTBEAT_REPLY);
        i32::from_be_bytes(reply.body[..].try_into().expect("four bytes"))
    }

    /// The next packet that is no reply to a [`call`](Self::call).
    pub(crate) async fn next(&mut self) -> Result<Packet, Closed> {
        match self.pushed.pop_front() {
            Some(packet) => Ok(packet),
            None => soon("a packet", self.receive()).await,
        }
    }

    /// The text of the next push.
    pub(crate) async fn message(&mut self) -> String {
        let packet = self.next().await.expect("a push");
        assert_eq!(packet.header.op, PUSHED);
        String::from_utf8(packet.body.into()).expect("text")
    }

    /// Waits for the end, whatever comes before.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    async fn receive(&mut self) -> Result<Packet, Closed> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other error is the server's fault"
        )]
        self.connection.recv().await.map_err(|error| match error {
            LinkError::Closed { code, .. } => Closed(code),
            LinkError::Io(_) => Closed(None),
            error => panic!("the server broke the protocol: {error}"),
        })
    }
}
