//! Pushes: who is meant, and the records for the push log.
//!
//! All records of a push, and of a batch of them, are published at once. A key
//! given twice in a push is pushed to once; records of one server keep the order
//! in which its keys were given.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_backend::push_log::PublishError;
use halley_backend::sessions::SessionsError;
use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;

use crate::core::Core;
use crate::metrics::{Metrics, PushKind, PushOutcome};

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
    /// The caller's batch, or a push in it, is not what a batch consists of.
    #[error("{0}")]
    Malformed(String),
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

/// A push: what, and to whom.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) operation: i32,
    pub(crate) target: Target,
    pub(crate) msg: Bytes,
}

/// Whom a push is for.
#[derive(Debug)]
pub(crate) enum Target {
    /// Connections by key.
    Keys(Vec<String>),
    /// Every connection of users.
    Mids(Vec<i64>),
    /// The members of the room of this name.
    Room(String),
    /// Every connection, at most `speed` per second over all comets; 0 means at
    /// once.
    Everyone { speed: i32 },
}

/// A push whose keys or users, if it has any, are among those that are looked
/// up for the whole batch.
struct Checked {
    operation: i32,
    target: Aim,
    msg: Bytes,
}

enum Aim {
    /// This many of the keys.
    Keys(usize),
    /// This many of the users.
    Mids(usize),
    Room(String),
    Everyone {
        speed: i32,
    },
}

/// Does one push.
pub(crate) async fn one(core: &Core, push: Push) -> Result<Receipt, PushError> {
    let results = batch(core, vec![push]).await?;
    let result = results.into_iter().next();
    result.expect("invariant: a result for each push")
}

/// Does pushes with one lookup and one append to the log, in their order. A
/// push that is wrong in itself is refused alone; an error is for all of them.
pub(crate) async fn batch(
    core: &Core,
    pushes: Vec<Push>,
) -> Result<Vec<Result<Receipt, PushError>>, PushError> {
    let mut counts = Counts {
        metrics: &core.metrics,
        refused: pushes.iter().map(|push| push.target.counts_as()).collect(),
    };
    let results = try_batch(core, pushes).await?;
    counts.done(&results);
    Ok(results)
}

/// Counts a batch. Dropped before its end, as when there is no time left for it,
/// all of it was refused.
struct Counts<'a> {
    metrics: &'a Metrics,
    /// Unless it is known better, in the order of the pushes.
    refused: Vec<(PushKind, usize)>,
}

impl Counts<'_> {
    fn done(&mut self, results: &[Result<Receipt, PushError>]) {
        let given = std::mem::take(&mut self.refused);
        for (given, result) in given.into_iter().zip(results) {
            let Ok(receipt) = result else {
                self.refused.push(given);
                continue;
            };
            let (kind, _) = given;
            self.metrics
                .pushes(kind, PushOutcome::Accepted, receipt.accepted);
            self.metrics
                .pushes(kind, PushOutcome::Offline, receipt.offline.len());
        }
    }
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        for &(kind, targets) in &self.refused {
            self.metrics.pushes(kind, PushOutcome::Refused, targets);
        }
    }
}

async fn try_batch(
    core: &Core,
    pushes: Vec<Push>,
) -> Result<Vec<Result<Receipt, PushError>>, PushError> {
    let mut keys = Vec::new();
    let mut mids = Vec::new();
    let checked: Vec<_> = pushes
        .into_iter()
        .map(|push| check(core, push, &mut keys, &mut mids))
        .collect();
    let mut servers = Vec::new();
    if !keys.is_empty() {
        servers = core.sessions.of_keys(&keys).await?;
    }
    let mut connections = Vec::new();
    if !mids.is_empty() {
        connections = core.sessions.of_mids(&mids).await?;
    }
    let mut found = Found {
        keys: keys.into_iter().zip(servers),
        mids: mids.into_iter().zip(connections),
    };
    let mut records = Vec::new();
    let results = checked
        .into_iter()
        .map(|push| Ok(push?.address(core, &mut found, &mut records)))
        .collect();
    if !records.is_empty() {
        publish(core, records).await?;
    }
    Ok(results)
}

/// Moves the keys or users of a push to those that are looked up.
fn check(
    core: &Core,
    push: Push,
    keys: &mut Vec<String>,
    mids: &mut Vec<i64>,
) -> Result<Checked, PushError> {
    let target = match push.target {
        Target::Keys(given) => {
            check_targets(core, given.len())?;
            if given.is_empty() {
                return Err(PushError::NoKeys);
            }
            Aim::Keys(append(keys, without_repeats(given)))
        }
        Target::Mids(given) => {
            check_targets(core, given.len())?;
            Aim::Mids(append(mids, without_repeats(given)))
        }
        Target::Room(name) => Aim::Room(name),
        Target::Everyone { speed } => Aim::Everyone { speed },
    };
    Ok(Checked {
        operation: push.operation,
        target,
        msg: push.msg,
    })
}

fn append<T>(all: &mut Vec<T>, mut more: Vec<T>) -> usize {
    let count = more.len();
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
    count
}

/// Where the keys and users of a batch are, to be taken in their order.
struct Found<K, M> {
    keys: K,
    mids: M,
}

impl Checked {
    /// Adds the records for the push.
    fn address(
        self,
        core: &Core,
        found: &mut Found<
            impl Iterator<Item = (String, Option<Arc<str>>)>,
            impl Iterator<Item = (i64, Vec<(String, Arc<str>)>)>,
        >,
        records: &mut Vec<PushMsg>,
    ) -> Receipt {
        let mut offline = Vec::new();
        let mut bound = Vec::new();
        match self.target {
            Aim::Keys(count) => {
                for (key, server) in found.keys.by_ref().take(count) {
                    match server.filter(|server| core.nodes.is_live(server)) {
                        Some(server) => bound.push((key, server)),
                        None => offline.push(key),
                    }
                }
            }
            Aim::Mids(count) => {
                for (mid, mut connections) in found.mids.by_ref().take(count) {
                    connections.retain(|(_, server)| core.nodes.is_live(server));
                    if connections.is_empty() {
                        offline.push(mid.to_string());
                    }
                    bound.extend(connections);
                }
            }
            Aim::Room(room) => {
                records.push(PushMsg {
                    r#type: Type::Room.into(),
                    operation: self.operation,
                    room,
                    msg: self.msg,
                    ..PushMsg::default()
                });
                return Receipt::of_record();
            }
            Aim::Everyone { speed } => {
                records.push(PushMsg {
                    r#type: Type::Broadcast.into(),
                    operation: self.operation,
                    speed,
                    msg: self.msg,
                    ..PushMsg::default()
                });
                return Receipt::of_record();
            }
        }
        let accepted = bound.len();
        add_by_server(records, self.operation, bound, &self.msg);
        Receipt { accepted, offline }
    }
}

/// Adds one record per server for connections of one push.
fn add_by_server(
    records: &mut Vec<PushMsg>,
    operation: i32,
    mut bound: Vec<(String, Arc<str>)>,
    msg: &Bytes,
) {
    // Stable: keys of one server keep their order.
    bound.sort_by(|(_, a), (_, b)| a.cmp(b));
    let own = records.len();
    for (key, server) in bound {
        match records[own..].last_mut() {
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
}

impl Receipt {
    /// Of a push that is one record for whoever is there.
    fn of_record() -> Self {
        Self {
            accepted: 1,
            offline: Vec::new(),
        }
    }
}

impl Target {
    /// What it is, and how many it addresses, as far as the request says.
    pub(crate) fn counts_as(&self) -> (PushKind, usize) {
        match self {
            Self::Keys(keys) => (PushKind::Keys, keys.len().max(1)),
            Self::Mids(mids) => (PushKind::Mids, mids.len().max(1)),
            Self::Room(_) => (PushKind::Room, 1),
            Self::Everyone { .. } => (PushKind::All, 1),
        }
    }
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
