//! `/goim/push/*`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use hyper::body::Body;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::{self, BodyError};
use super::idempotency::Checked;
use super::params::{BindError, Binder};
use super::{Answer, PushRoute, envelope, go, idempotency};
use crate::core::Core;
use crate::metrics::{PushKind, PushOutcome};
use crate::push::{self, PushError, Receipt};

/// Seconds after which a client may come back to a node that is draining, or
/// cut off from what is behind it: by then it should have found another one.
const RETRY_AFTER_S: u64 = 1;
/// The query parameter that asks for a receipt.
const RECEIPT: &str = "receipt";

/// What the query of a push says.
enum Push {
    Keys {
        operation: i32,
        keys: Vec<String>,
    },
    Mids {
        operation: i32,
        mids: Vec<i64>,
    },
    Room {
        operation: i32,
        kind: Vec<u8>,
        room: Vec<u8>,
    },
    All {
        operation: i32,
        speed: i32,
    },
}

/// Answers a push, which is done with once `under_way` is dropped.
pub(super) async fn answer<B>(
    core: &Arc<Core>,
    route: PushRoute,
    request: Request<B>,
    under_way: TaskTrackerToken,
) -> Answer
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let push = match Push::bind(route, query) {
        Ok(push) => push,
        Err(error) => return envelope::unbound(&error),
    };
    let hides_errors = matches!(push, Push::Keys { .. });
    if core.is_draining() {
        return refusal(&PushError::Draining, hides_errors);
    }
    let msg = match body::read(body, core.config.http.body_bytes_max).await {
        Ok(msg) => msg,
        Err(error @ BodyError::TooLarge(_)) => {
            return envelope::refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string());
        }
        Err(error @ BodyError::Broken(_)) => {
            return envelope::unbound(&BindError(error.to_string()));
        }
    };
    let permit = match core.limits.push.enter().await {
        Ok(permit) => permit,
        Err(shed) => {
            let (kind, targets) = push.counts_as();
            core.metrics.pushes(kind, PushOutcome::Refused, targets);
            return envelope::unavailable(&shed.to_string(), seconds(shed.retry_after));
        }
    };
    let asked = [parts.uri.path().as_bytes(), query.as_bytes(), &msg];
    let claim = match idempotency::check(core, &parts.headers, &asked).await {
        Checked::Do(claim) => claim,
        Checked::Answered(response) => {
            permit.end(false);
            return response;
        }
    };
    let wants_receipt = &*Binder::new(query).text(RECEIPT) == b"1";
    let work = push.run(Arc::clone(core), msg, wants_receipt);
    let result = match claim {
        Some(claim) => claim.settle(Arc::clone(core), under_way, work).await,
        None => work.await,
    };
    permit.end(result.as_ref().map_or_else(PushError::is_late, |_| true));
    match result {
        Ok(body) => envelope::succeeded(body),
        Err(error) => refusal(&error, hides_errors),
    }
}

impl Push {
    fn bind(route: PushRoute, query: &str) -> Result<Self, BindError> {
        let mut binder = Binder::new(query);
        let operation = binder.int32("operation")?;
        let push = match route {
            PushRoute::Keys => Self::Keys {
                operation,
                keys: binder.texts("keys"),
            },
            PushRoute::Mids => Self::Mids {
                operation,
                mids: binder.int64s("mids")?,
            },
            PushRoute::Room => {
                let kind = binder.text("type").into_owned();
                let room = binder.text("room").into_owned();
                binder.require("Op", operation != 0);
                binder.require("Type", !kind.is_empty());
                binder.require("Room", !room.is_empty());
                Self::Room {
                    operation,
                    kind,
                    room,
                }
            }
            PushRoute::All => {
                let speed = binder.int32("speed")?;
                binder.require("Op", operation != 0);
                Self::All { operation, speed }
            }
        };
        binder.finish()?;
        Ok(push)
    }

    /// What it is, and how many it addresses, as far as the request says.
    fn counts_as(&self) -> (PushKind, usize) {
        match self {
            Self::Keys { keys, .. } => (PushKind::Keys, keys.len().max(1)),
            Self::Mids { mids, .. } => (PushKind::Mids, mids.len().max(1)),
            Self::Room { .. } => (PushKind::Room, 1),
            Self::All { .. } => (PushKind::All, 1),
        }
    }

    /// Pushes, and returns the body of the answer.
    async fn run(
        self,
        core: Arc<Core>,
        msg: Bytes,
        wants_receipt: bool,
    ) -> Result<Bytes, PushError> {
        let core = &*core;
        let receipt = match self {
            Self::Keys { operation, keys } => push::keys(core, operation, keys, msg).await,
            Self::Mids { operation, mids } => push::mids(core, operation, mids, msg).await,
            Self::Room {
                operation,
                kind,
                room,
            } => push::room(core, operation, &kind, &room, msg).await,
            Self::All { operation, speed } => push::all(core, operation, speed, msg).await,
        }?;
        Ok(if wants_receipt {
            envelope::data_body(&receipt_json(&receipt))
        } else {
            envelope::accepted_body()
        })
    }
}

/// The answer to a push that was not taken. goim tells no reason when pushing
/// by key.
fn refusal(error: &PushError, hides_errors: bool) -> Answer {
    match error {
        PushError::Full { retry_after } => {
            envelope::unavailable(&error.to_string(), seconds(*retry_after))
        }
        PushError::TooLarge | PushError::TooManyTargets { .. } => {
            envelope::refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        PushError::Draining | PushError::Sessions(_) | PushError::Unavailable(_) => {
            envelope::unavailable(&error.to_string(), RETRY_AFTER_S)
        }
        PushError::NoKeys | PushError::InvalidRoom => {
            if hides_errors {
                envelope::failed(envelope::CODE_REQUEST, "")
            } else {
                envelope::failed(envelope::CODE_SERVER, &error.to_string())
            }
        }
    }
}

/// A pause as `Retry-After` has it: at least one second.
fn seconds(pause: Duration) -> u64 {
    let seconds = pause.as_millis().div_ceil(1_000);
    u64::try_from(seconds).unwrap_or(u64::MAX).max(1)
}

fn receipt_json(receipt: &Receipt) -> String {
    let mut json = format!(r#"{{"accepted":{},"offline":["#, receipt.accepted);
    for (at, target) in receipt.offline.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        go::json_string(&mut json, target);
    }
    json.push_str("]}");
    json
}
