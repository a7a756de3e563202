//! The scenarios: open, do, settle, report.

mod idle;
mod mixed;
mod room;
mod run;
mod storm;
mod users;

use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::args::{PushesArgs, Scenario, StressArgs};
use crate::interrupt::Interrupt;
use crate::pusher::Pace;
use crate::report::Report;
use crate::series::Series;

/// How long a run whose limit is over may take to report.
const REPORT_MAX: Duration = Duration::from_mins(1);

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) report: Report,
    pub(crate) series: Series,
}

/// What all scenarios are given.
struct Stage<'a> {
    tracker: &'a TaskTracker,
    interrupt: &'a Interrupt,
}

/// Runs what the command line asks for.
pub(crate) async fn run(args: &StressArgs) -> anyhow::Result<Finished> {
    let (tracker, limit) = (TaskTracker::new(), args.limit());
    let interrupt = Interrupt::watch(limit, &tracker);
    let stage = Stage {
        tracker: &tracker,
        interrupt: &interrupt,
    };
    let work = async {
        match &args.scenario {
            Scenario::Idle(args) => idle::run(args, &stage).await,
            Scenario::Room(args) => room::one(args, &stage).await,
            Scenario::Rooms(args) => room::many(args, &stage).await,
            Scenario::Push(args) => users::run(args, &stage).await,
            Scenario::Storm(args) => storm::run(args, &stage).await,
            Scenario::Mixed(args) => mixed::mixed(args, &stage).await,
            Scenario::Soak(args) => mixed::soak(args, &stage).await,
        }
    };
    timeout(limit + REPORT_MAX, Box::pin(work))
        .await
        .context("end the run, whose limit is long over")?
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked with the other settings: between 0 and SEQ_MAX"
)]
fn open_pace(per_second: f64, pushes: &PushesArgs) -> Pace {
    Pace::Open {
        per_second,
        total: (per_second * pushes.duration.as_secs_f64()).round() as u64,
        patience_ns: nanoseconds(pushes.push_timeout),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
