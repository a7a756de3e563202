//! `/goim/push/*`, and `/v1/push` which is many of them at once.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use hyper::body::Body;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::{self, BodyError};
use super::idempotency::Checked;
use super::params::{BindError, Binder};
use super::{Answer, PushRoute, batch, envelope, go, idempotency};
use crate::core::Core;
use crate::metrics::{PushKind, PushOutcome};
use crate::online::room_name;
use crate::push::{self, Push, PushError, Receipt, Target};

/// Seconds after which a client may come back to a node that is draining, or
/// cut off from what is behind it: by then it should have found another one.
const RETRY_AFTER_S: u64 = 1;
/// The query parameter that asks for a receipt.
const RECEIPT: &str = "receipt";

/// What a request asks for, apart from its body.
enum Asked {
    One {
        operation: i32,
        /// `None` is a room whose name is not UTF-8.
        target: Option<Target>,
        wants_receipt: bool,
    },
    /// All that it asks for is in its body.
    Batch,
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
    let (parts, mut body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let push = match Asked::bind(route, query) {
        Ok(push) => push,
        Err(error) => return envelope::unbound(&error),
    };
    let hides_errors = route == PushRoute::Keys;
    let refused = || {
        let (kind, targets) = push.counts_as();
        core.metrics.pushes(kind, PushOutcome::Refused, targets);
    };
    if core.is_draining() {
        refused();
        body::pass_over(&parts.headers, &mut body).await;
        return refusal(&PushError::Draining, hides_errors);
    }
    let msg = match body::read(&mut body, core.config.http.body_bytes_max).await {
        Ok(msg) => msg,
        Err(error) => {
            refused();
            return match error {
                BodyError::TooLarge(_) => {
                    body::pass_over(&parts.headers, &mut body).await;
                    envelope::refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
                }
                BodyError::Broken(_) => envelope::unbound(&BindError(error.to_string())),
            };
        }
    };
    let permit = match core.limits.push.enter().await {
        Ok(permit) => permit,
        Err(shed) => {
            refused();
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
    let work = push.run(Arc::clone(core), msg);
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

impl Asked {
    fn bind(route: PushRoute, query: &str) -> Result<Self, BindError> {
        let mut binder = Binder::new(query);
        let operation = binder.int32("operation")?;
        let target = match route {
            PushRoute::Batch => return Ok(Self::Batch),
            PushRoute::Keys => Some(Target::Keys(binder.texts("keys"))),
            PushRoute::Mids => Some(Target::Mids(binder.int64s("mids")?)),
            PushRoute::Room => {
                let kind = binder.text("type");
                let room = binder.text("room");
                binder.require("Op", operation != 0);
                binder.require("Type", !kind.is_empty());
                binder.require("Room", !room.is_empty());
                match (str::from_utf8(&kind), str::from_utf8(&room)) {
                    (Ok(kind), Ok(room)) => Some(Target::Room(room_name(kind, room))),
                    _ => None,
                }
            }
            PushRoute::All => {
                let speed = binder.int32("speed")?;
                binder.require("Op", operation != 0);
                Some(Target::Everyone { speed })
            }
        };
        let wants_receipt = &*binder.text(RECEIPT) == b"1";
        binder.finish()?;
        Ok(Self::One {
            operation,
            target,
            wants_receipt,
        })
    }

    /// What it is, and how many it addresses, as far as the query says.
    fn counts_as(&self) -> (PushKind, usize) {
        match self {
            Self::One { target, .. } => target
                .as_ref()
                .map_or((PushKind::Room, 1), Target::counts_as),
            Self::Batch => (PushKind::Batch, 1),
        }
    }

    /// Pushes, and returns the body of the answer.
    async fn run(self, core: Arc<Core>, body: Bytes) -> Result<Bytes, PushError> {
        let core = &*core;
        let (operation, target, wants_receipt) = match self {
            Self::Batch => return batch::run(core, &body).await,
            Self::One {
                operation,
                target,
                wants_receipt,
            } => (operation, target, wants_receipt),
        };
        let Some(target) = target else {
            core.metrics.pushes(PushKind::Room, PushOutcome::Refused, 1);
            return Err(PushError::InvalidRoom);
        };
        let push = Push {
            operation,
            target,
            msg: body,
        };
        let receipt = push::one(core, push).await?;
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
        PushError::Malformed(_) => envelope::refused(StatusCode::BAD_REQUEST, &error.to_string()),
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
    let mut json = String::new();
    push_receipt(&mut json, receipt);
    json
}

/// Appends a receipt.
pub(super) fn push_receipt(json: &mut String, receipt: &Receipt) {
    let _ = write!(json, r#"{{"accepted":{},"offline":["#, receipt.accepted);
    for (at, target) in receipt.offline.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        go::json_string(json, target);
    }
    json.push_str("]}");
}
