//! The body of `/v1/push`: many messages, each to targets of its own.
//!
//! What is wrong with one message is told in its result and concerns no other
//! one. The others are given to the push log in one step.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{envelope, go, pushes};
use crate::core::Core;
use crate::metrics::{PushKind, PushOutcome};
use crate::push::{self, Push, PushError, Receipt, Target};

/// Bytes of a result without keys that are offline, as a guess.
const RESULT_BYTES: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    /// Read one by one, so that each may be wrong for itself.
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    operation: i32,
    keys: Option<Vec<String>>,
    mids: Option<Vec<i64>>,
    room: Option<String>,
    #[serde(default)]
    all: bool,
    speed: Option<i32>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

/// Pushes what `body` says, and returns the body of the answer.
pub(super) async fn run(core: &Core, body: &Bytes) -> Result<Bytes, PushError> {
    let read = read_all(core, body).inspect_err(|_| refused(core, 1))?;
    let mut pushes = Vec::with_capacity(read.len());
    let wrong: Vec<_> = read
        .into_iter()
        .map(|message| message.map(|push| pushes.push(push)).err())
        .collect();
    refused(core, wrong.iter().flatten().count());
    let mut done = push::batch(core, pushes).await?.into_iter();
    let results = wrong.into_iter().map(|wrong| match wrong {
        Some(error) => Err(error),
        None => done.next().expect("invariant: a result for each push"),
    });
    Ok(envelope::data_body(&results_json(results)))
}

/// Counts what of a batch nobody could push.
fn refused(core: &Core, messages: usize) {
    core.metrics
        .pushes(PushKind::Batch, PushOutcome::Refused, messages);
}

/// The messages of a batch, unless there are too many.
fn read_all(core: &Core, body: &[u8]) -> Result<Vec<Result<Push, PushError>>, PushError> {
    let batch: Batch<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let read: Vec<_> = batch.messages.into_iter().map(read).collect();
    check_targets(core, &read)?;
    Ok(read)
}

fn read(message: &RawValue) -> Result<Push, PushError> {
    let message: Message<'_> =
        serde_json::from_str(message.get()).map_err(|error| malformed(&error))?;
    let Message {
        keys,
        mids,
        room,
        all,
        speed,
        ..
    } = message;
    if speed.is_some() && !all {
        return Err(wrong("speed is for all"));
    }
    let target = match (keys, mids, room, all) {
        (Some(keys), None, None, false) => Target::Keys(keys),
        (None, Some(mids), None, false) => Target::Mids(mids),
        (None, None, Some(room), false) if !room.is_empty() => Target::Room(room),
        (None, None, None, true) => Target::Everyone {
            speed: speed.unwrap_or_default(),
        },
        _ => return Err(wrong("one of keys, mids, room and all is needed")),
    };
    let msg = match (message.text, message.base64, message.json) {
        (Some(text), None, None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(base64), None) => STANDARD
            .decode(base64.as_bytes())
            .map_err(|error| wrong(&format!("base64: {error}")))?
            .into(),
        (None, None, Some(json)) => Bytes::copy_from_slice(json.get().as_bytes()),
        _ => return Err(wrong("one of text, base64 and json is needed")),
    };
    Ok(Push {
        operation: message.operation,
        target,
        msg,
    })
}

fn check_targets(core: &Core, read: &[Result<Push, PushError>]) -> Result<(), PushError> {
    let targets = |message: &Result<Push, PushError>| match message {
        Ok(push) => push.target.counts_as().1,
        Err(_) => 1,
    };
    let given = read.iter().map(targets).sum();
    let max = core.config.push.batch_targets_max;
    if given > max {
        return Err(PushError::TooManyTargets { given, max });
    }
    Ok(())
}

fn malformed(error: &serde_json::Error) -> PushError {
    PushError::Malformed(error.to_string())
}

fn wrong(text: &str) -> PushError {
    PushError::Malformed(text.to_owned())
}

fn results_json(results: impl ExactSizeIterator<Item = Result<Receipt, PushError>>) -> String {
    let mut json = String::with_capacity(results.len() * RESULT_BYTES);
    json.push_str(r#"{"results":["#);
    for (at, result) in results.enumerate() {
        if at > 0 {
            json.push(',');
        }
        match result {
            Ok(receipt) => pushes::push_receipt(&mut json, &receipt),
            Err(error) => {
                json.push_str(r#"{"error":"#);
                go::json_string(&mut json, &error.to_string());
                json.push('}');
            }
        }
    }
    json.push_str("]}");
    json
}
