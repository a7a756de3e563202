//! Clients and a backend.

use std::net::SocketAddr;
use std::time::Duration;

use halley_client::{Connection, ConnectionOptions, Endpoint, Transport};
use halley_wire::{AuthBody, Header, Op, Packet};
use serde_json::Value;

/// How long anything may take before a case fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// Time between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const OPERATION: i32 = 1000;

/// A client that is logged in.
pub(crate) struct Client {
    connection: Connection,
}

/// What a push was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Value,
}

impl Client {
    pub(crate) async fn log_in(
        transport: Transport,
        address: SocketAddr,
        (mid, key, room): (i64, &str, &str),
    ) -> Self {
        let endpoint = Endpoint::new(transport, address.ip().to_string(), address.port());
        let options = ConnectionOptions::default();
        let connection = Connection::connect(&endpoint, &options).await;
        let mut client = Self {
            connection: connection.expect("connected"),
        };
        let auth = AuthBody {
            mid,
            key: key.to_owned(),
            room_id: room.to_owned(),
            accepts: vec![OPERATION],
            ..AuthBody::default()
        };
        let header = Header {
            ver: 1,
            op: Op::AUTH,
            seq: 1,
        };
        let body = auth.to_json().into();
        let sent = client.connection.send(Packet { header, body }).await;
        sent.expect("sent");
        let reply = client.next().await;
        assert_eq!(reply.header.op, Op::AUTH_REPLY);
        client
    }

    pub(crate) async fn next(&mut self) -> Packet {
        let next = tokio::time::timeout(PATIENCE, self.connection.recv()).await;
        next.expect("a packet in time").expect("a packet")
    }

    /// The text of the next push.
    pub(crate) async fn message(&mut self) -> String {
        let packet = self.next().await;
        assert_eq!(packet.header.op, Op(OPERATION));
        String::from_utf8(packet.body.into()).expect("text")
    }
}

/// Pushes `body` as `what` says: `room?type=live&room=1`.
pub(crate) async fn push(http: SocketAddr, what: &str, body: impl Into<reqwest::Body>) -> Answer {
    let url = format!("http://{http}/goim/push/{what}&operation={OPERATION}&receipt=1");
    let request = reqwest::Client::new().post(url).body(body);
    let response = request.send().await.expect("an answer");
    let retry_after = response.headers().get("retry-after").map(|value| {
        let text = value.to_str().expect("text");
        text.parse().expect("seconds")
    });
    Answer {
        status: response.status().as_u16(),
        retry_after,
        body: response.json().await.expect("an envelope"),
    }
}

/// Pushes what must be accepted, for so many connections or records.
pub(crate) async fn push_ok(http: SocketAddr, what: &str, body: &str, accepted: u64) {
    let answer = push(http, what, body.to_owned()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["data"]["accepted"], accepted, "{answer:?}");
}

/// Data of a question to the HTTP API.
pub(crate) async fn ask(http: SocketAddr, what: &str) -> Value {
    let answer = reqwest::get(format!("http://{http}/goim/{what}")).await;
    let mut body: Value = answer.expect("an answer").json().await.expect("json");
    body["data"].take()
}

/// Looks again and again until `probe` finds something.
pub(crate) async fn found<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let finding = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, finding).await;
    found.unwrap_or_else(|_| panic!("never happened: {what}"))
}
