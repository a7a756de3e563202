//! Connections that are dropped all at once and come back, or that come and go all the time.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::run::{Members, Run};
use super::{Finished, Stage, milliseconds};
use crate::args::StormArgs;
use crate::messages::{Churn, Layout, Storm};
use crate::progress::{seconds_since, show, words};
use crate::report::cpu_ms;

/// Members of each room.
const ROOM_MEMBERS: u32 = 100;
/// How long heartbeats may take to be answered at the end.
const SETTLE_MS: u64 = 5_000;

pub(super) async fn run(args: &StormArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let layout = Layout::Groups(ROOM_MEMBERS);
    let members = Members {
        dropped_share: if args.churn { 0.0 } else { args.share },
        lanes: if args.churn { args.concurrency } else { 0 },
        ..Members::new(args.connections, args.connect_rate, 0, layout)
    };
    let mut run = Run::open("storm", &args.common, &members, &[], stage).await?;
    run.crew.begin().await?;
    if args.churn {
        churn(args, &mut run).await?;
    } else {
        storms(args, &mut run).await?;
    }
    run.readings.end = run.server.read();
    let settled = run.crew.settle(&BTreeMap::new(), SETTLE_MS).await?;
    Ok(run.finish(settled))
}

async fn storms(args: &StormArgs, run: &mut Run) -> anyhow::Result<()> {
    let order = Storm {
        retry_ms: milliseconds(args.retry),
        within_ms: milliseconds(args.within),
        reset: args.reset,
    };
    let interrupted = run.interrupt.token.clone();
    let progress = run.crew.progress();
    for place in 0..args.storms {
        if run.hold("calm", args.calm).await.is_none() {
            return Ok(());
        }
        let describe = || {
            let open = progress().open;
            (
                open,
                format!("back, storm {} of {}", place + 1, args.storms),
            )
        };
        let storm = run.crew.storm(order, &interrupted);
        let stormed = show("storm", args.connections.into(), describe, storm).await?;
        run.own.storms.push(stormed);
    }
    Ok(())
}

async fn churn(args: &StormArgs, run: &mut Run) -> anyhow::Result<()> {
    let order = Churn {
        // Behind the numbers of the members.
        first: args.connections,
        lanes: args.concurrency,
        stride: args.concurrency,
        per_second: args.rate,
        duration_ms: milliseconds(args.duration),
        reset: args.reset,
    };
    let (start, progress) = (Instant::now(), run.crew.progress());
    let before = run.server.read();
    let describe = || (seconds_since(start), words(progress()));
    let interrupted = run.interrupt.token.clone();
    let churn = run.crew.churn(order, &interrupted);
    let churned = show("churn", args.duration.as_secs(), describe, churn).await?;
    let spent_ms = cpu_ms(before.as_ref(), run.server.read().as_ref());
    run.own.churned = Some((churned, spent_ms));
    Ok(())
}
