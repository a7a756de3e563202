//! Pushes to single users.

use std::num::NonZero;

use super::run::{Members, Run};
use super::{Finished, Stage, nanoseconds, open_pace};
use crate::args::{Address, PushArgs};
use crate::messages::{Layout, Plan};
use crate::pusher::{Load, Pace, Pick};

pub(super) async fn run(args: &PushArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let size_bytes = args.pushes.size;
    let members = Members::new(args.users, args.connect_rate, size_bytes, Layout::Users);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let mut run = Run::open("push", &args.common, &members, &servers, stage).await?;
    let batch = args.batch.and_then(NonZero::new);
    let load = Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths: match batch {
            None => paths(args.common.operation, run.id, args.users, args.by),
            Some(_) => messages(args.common.operation, run.id, args.users, args.by),
        },
        first_stream: 0,
        pick: Pick::InTurn,
        timed: false,
        pace: if args.closed_loop {
            let duration_ns = nanoseconds(args.pushes.duration);
            Pace::Closed { duration_ns }
        } else {
            open_pace(args.rate, &args.pushes)
        },
        lanes: args.concurrency.into(),
        batch,
    };
    let settled = run.push(&target, vec![load], &args.pushes).await?;
    Ok(run.finish(settled))
}

/// Where to push to each user.
pub(super) fn paths(operation: i32, run: u64, users: u32, by: Address) -> Vec<String> {
    let path = |user| match by {
        Address::Keys => format!(
            "/goim/push/keys?operation={operation}&keys={}",
            Plan::key(run, user)
        ),
        Address::Mids => format!(
            "/goim/push/mids?operation={operation}&mids={}",
            Plan::mid(run, user)
        ),
    };
    (0..users).map(path).collect()
}

/// How a message to each user begins, in a batch.
fn messages(operation: i32, run: u64, users: u32, by: Address) -> Vec<String> {
    let message = |user| {
        let target = match by {
            Address::Keys => format!(r#""keys":["{}"]"#, Plan::key(run, user)),
            Address::Mids => format!(r#""mids":[{}]"#, Plan::mid(run, user)),
        };
        format!(r#"{{"operation":{operation},{target},"base64":""#)
    };
    (0..users).map(message).collect()
}
