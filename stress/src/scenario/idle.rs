//! Connections that do nothing but live.

use std::collections::BTreeMap;

use super::run::{Members, Run};
use super::{Finished, Stage};
use crate::args::IdleArgs;
use crate::kernel::Kernel;
use crate::messages::Layout;

/// How long heartbeats may take to be answered at the end.
const SETTLE_MS: u64 = 5_000;

pub(super) async fn run(args: &IdleArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let layout = Layout::Groups(args.room_members);
    let members = Members::new(args.connections, args.rate, 0, layout);
    let kernel_before = args.report.then(Kernel::read).flatten();
    let mut run = Run::open("idle", &args.common, &members, &[], stage).await?;
    if let (Some(before), Some(after)) = (kernel_before, Kernel::read()) {
        run.own.kernel = Some((before, after));
    }
    run.crew.begin().await?;
    run.hold("hold", args.duration).await;
    run.readings.end = run.server.read();
    let settled = run.crew.settle(&BTreeMap::new(), SETTLE_MS).await?;
    Ok(run.finish(settled))
}
