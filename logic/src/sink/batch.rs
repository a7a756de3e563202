//! A batch as the receiver sees it.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::Message;

/// A batch, written once and sent in every attempt.
#[derive(Debug)]
pub(super) struct Batch {
    /// The same in every attempt, so that a receiver can tell what it has.
    pub(super) id: String,
    pub(super) body: Bytes,
}

#[derive(Serialize)]
struct Written {
    messages: Vec<WrittenMessage>,
}

#[derive(Serialize)]
struct WrittenMessage {
    mid: i64,
    op: i32,
    seq: i32,
    ver: i32,
    /// Base64, since clients send any bytes.
    body: String,
}

impl Batch {
    pub(super) fn write(messages: &[Message]) -> Self {
        let written = Written {
            messages: messages
                .iter()
                .map(|message| WrittenMessage {
                    mid: message.mid,
                    op: message.op,
                    seq: message.seq,
                    ver: message.ver,
                    body: BASE64_STANDARD.encode(&message.body),
                })
                .collect(),
        };
        Self {
            id: Uuid::new_v4().to_string(),
            body: serde_json::to_vec(&written)
                .expect("invariant: numbers and text are always json")
                .into(),
        }
    }
}

/// Signs `timestamp`, a dot, and `body`: with the time in it, what someone
/// recorded cannot be sent again later.
pub(super) fn signature(key: &hmac::Key, timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    format!("v1={}", hex::encode(context.sign()))
}

/// Seconds since the Unix epoch.
pub(super) fn timestamp() -> String {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_written_as_documented() {
        let batch = Batch::write(&[Message {
            mid: 7,
            op: 4,
            seq: 3,
            ver: 1,
            body: Bytes::from_static(b"\xff\0hi"),
        }]);

        assert_eq!(
            batch.body,
            r#"{"messages":[{"mid":7,"op":4,"seq":3,"ver":1,"body":"/wBoaQ=="}]}"#
        );
    }

    #[test]
    fn the_signature_covers_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");

        let signed = signature(&key, "1700000000", b"{}");

        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signed,
            "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
        assert_ne!(signed, signature(&key, "1700000001", b"{}"));
        assert_ne!(signed, signature(&key, "1700000000", b"{ }"));
    }
}
