//! Pushes: who is meant, and the records for the push log.
//!
//! All records of one push are published at once. A key given twice is pushed
//! to once; records of one server keep the order in which its keys were given.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_backend::push_log::PublishError;
use halley_backend::sessions::SessionsError;
use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;

use crate::core::Core;
use crate::metrics::{PushKind, PushOutcome};
use crate::online::room_name;

/// What became of a push when it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Connections (of a push to keys or users), or records (of the others),
    /// that the push log took.
    pub(crate) accepted: usize,
    /// Keys or users without a connection, in the order given.
    pub(crate) offline: Vec<String>,
}

/// Why a push was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// The caller named no key.
    #[error("no keys")]
    NoKeys,
    /// The caller named a room that is not UTF-8.
    #[error("string field contains invalid UTF-8")]
    InvalidRoom,
    /// The caller named more keys or users than one push may have.
    #[error("{given} targets are more than the {max} of one push")]
    TooManyTargets {
        /// Keys or users in the request.
        given: usize,
        /// The configured limit.
        max: usize,
    },
    /// The push is larger than the push log could ever take.
    #[error("push is too large for the push log")]
    TooLarge,
    /// The subscribers are behind: the caller may try again after a pause.
    #[error("push log is full")]
    Full {
        /// A pause after which there may be room.
        retry_after: Duration,
    },
    /// The process is about to end: the caller should turn to another one.
    #[error("node is draining")]
    Draining,
    /// The sessions cannot be read: the caller may try again.
    #[error(transparent)]
    Sessions(#[from] SessionsError),
    /// The push log cannot be reached; some of the push may have been taken.
    #[error("{0}")]
    Unavailable(String),
}

impl PushError {
    /// Whether it took a backend to find out.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Sessions(_) | Self::Unavailable(_))
    }
}

/// Pushes to connections by key.
pub(crate) async fn keys(
    core: &Core,
    operation: i32,
    keys: Vec<String>,
    msg: Bytes,
) -> Result<Receipt, PushError> {
    let given = keys.len();
    let result = async {
        check_targets(core, given)?;
        if keys.is_empty() {
            return Err(PushError::NoKeys);
        }
        let keys = without_repeats(keys);
        let servers = core.sessions.of_keys(&keys).await?;
        let mut offline = Vec::new();
        let mut bound = Vec::with_capacity(keys.len());
        for (key, server) in keys.into_iter().zip(servers) {
            match server.filter(|server| core.nodes.is_live(server)) {
                Some(server) => bound.push((key, server)),
                None => offline.push(key),
            }
        }
        publish_bound(core, operation, bound, offline, msg).await
    }
    .await;
    count(core, PushKind::Keys, given, &result);
    result
}

/// Pushes to every connection of users.
pub(crate) async fn mids(
    core: &Core,
    operation: i32,
    mids: Vec<i64>,
    msg: Bytes,
) -> Result<Receipt, PushError> {
    let given = mids.len();
    let result = async {
        check_targets(core, given)?;
        let mut offline = Vec::new();
        let mut bound = Vec::with_capacity(given);
        let mids = without_repeats(mids);
        let found = core.sessions.of_mids(&mids).await?;
        for (mid, mut connections) in mids.into_iter().zip(found) {
            connections.retain(|(_, server)| core.nodes.is_live(server));
            if connections.is_empty() {
                offline.push(mid.to_string());
            }
            bound.extend(connections);
        }
        publish_bound(core, operation, bound, offline, msg).await
    }
    .await;
    count(core, PushKind::Mids, given, &result);
    result
}

/// Pushes to the members of the room `kind://room`; both are UTF-8, or the
/// push is refused.
pub(crate) async fn room(
    core: &Core,
    operation: i32,
    kind: &[u8],
    room: &[u8],
    msg: Bytes,
) -> Result<Receipt, PushError> {
    let result = async {
        let (Ok(kind), Ok(room)) = (str::from_utf8(kind), str::from_utf8(room)) else {
            return Err(PushError::InvalidRoom);
        };
        let record = PushMsg {
            r#type: Type::Room.into(),
            operation,
            room: room_name(kind, room),
            msg,
            ..PushMsg::default()
        };
        publish(core, vec![record]).await?;
        Ok(Receipt {
            accepted: 1,
            ..Receipt::default()
        })
    }
    .await;
    count(core, PushKind::Room, 1, &result);
    result
}

/// Pushes to every connection, at most `speed` per second and bucket of a
/// comet; 0 means at once.
pub(crate) async fn all(
    core: &Core,
    operation: i32,
    speed: i32,
    msg: Bytes,
) -> Result<Receipt, PushError> {
    let record = PushMsg {
        r#type: Type::Broadcast.into(),
        operation,
        speed,
        msg,
        ..PushMsg::default()
    };
    let result = publish(core, vec![record]).await.map(|()| Receipt {
        accepted: 1,
        ..Receipt::default()
    });
    count(core, PushKind::All, 1, &result);
    result
}

/// Publishes one record per server for the connections found.
async fn publish_bound(
    core: &Core,
    operation: i32,
    mut bound: Vec<(String, Arc<str>)>,
    offline: Vec<String>,
    msg: Bytes,
) -> Result<Receipt, PushError> {
    let accepted = bound.len();
    // Stable: keys of one server keep their order.
    bound.sort_by(|(_, a), (_, b)| a.cmp(b));
    let mut records: Vec<PushMsg> = Vec::new();
    for (key, server) in bound {
        match records.last_mut() {
            Some(record) if *record.server == *server => record.keys.push(key),
            _ => records.push(PushMsg {
                r#type: Type::Push.into(),
                operation,
                server: server.as_ref().to_owned(),
                keys: vec![key],
                msg: msg.clone(),
                ..PushMsg::default()
            }),
        }
    }
    if !records.is_empty() {
        publish(core, records).await?;
    }
    Ok(Receipt { accepted, offline })
}

async fn publish(core: &Core, records: Vec<PushMsg>) -> Result<(), PushError> {
    core.push_log
        .publish(records)
        .await
        .map_err(|error| match error {
            PublishError::Full { retry_after } => PushError::Full { retry_after },
            PublishError::TooLarge { .. } => PushError::TooLarge,
            PublishError::Closed => PushError::Draining,
            error @ (PublishError::Unavailable(_) | _) => {
                tracing::error!(%error, "push is not published");
                PushError::Unavailable(error.to_string())
            }
        })
}

fn check_targets(core: &Core, given: usize) -> Result<(), PushError> {
    let max = core.config.push.targets_max;
    if given > max {
        return Err(PushError::TooManyTargets { given, max });
    }
    Ok(())
}

fn without_repeats<T: Clone + Eq + std::hash::Hash>(mut targets: Vec<T>) -> Vec<T> {
    if targets.len() > 1 {
        let mut seen = HashSet::with_capacity(targets.len());
        targets.retain(|target| seen.insert(target.clone()));
    }
    targets
}

fn count(core: &Core, kind: PushKind, given: usize, result: &Result<Receipt, PushError>) {
    match result {
        Ok(receipt) => {
            core.metrics
                .pushes(kind, PushOutcome::Accepted, receipt.accepted);
            core.metrics
                .pushes(kind, PushOutcome::Offline, receipt.offline.len());
        }
        Err(_) => core
            .metrics
            .pushes(kind, PushOutcome::Refused, given.max(1)),
    }
}
