//! Quiet rooms, alone and then beside one that is busy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{sleep, timeout};

use crate::figure::{Sample, Target};
use crate::scenario::{PATIENCE, Scenario, number};
use crate::server::Server;

pub(crate) const NAME: &str = "1,000 quiet rooms beside one of 10,000 members with 50 pushes/s";
/// Four members in each room.
const QUIET: &str = "rooms -n 4000 --rooms 1000 --exponent 0 --rate 100 --size 80 --duration 10s";
/// Outlasts the quiet ones, which open their connections beside it.
const BUSY: &str = "room -n 10000 --rate 50 --size 80 --duration 25s --connect-rate 5000";
/// A busy room has begun when so many messages were delivered in it: ten of its pushes.
const BEGUN: u64 = 100_000;
const DELIVERED: &str = "halley_comet_push_outcomes_total{outcome=\"delivered\",reason=\"\"}";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const SHOWN: &[&str] = &["loss"];
const LOST: &str = "/deliveries/lost";
const P99: &str = "/deliveries/latency/p99_us";

/// See the [module](self).
pub(crate) async fn run(halley: &Path) -> anyhow::Result<Vec<Sample>> {
    let server = Server::start(halley).await?;
    let place = server.place()?;
    let quiet = Scenario::start(halley, &place, QUIET, SHOWN)?;
    let alone = quiet.report().await?;
    let mut busy = Scenario::start(halley, &place, BUSY, SHOWN)?;
    let begins = timeout(PATIENCE, has_begun(&server)).await;
    begins.context("the busy room does not begin")??;
    let quiet = Scenario::start(halley, &place, QUIET, SHOWN)?;
    let beside = quiet.report().await?;
    ensure!(busy.is_running()?, "the busy room ended too early");
    let busy = busy.report().await?;
    let lost = number(&alone, LOST)? + number(&beside, LOST)? + number(&busy, LOST)?;
    let (p99_alone, p99) = (number(&alone, P99)? * 1e-3, number(&beside, P99)? * 1e-3);
    let sample = |figure, unit, value, most, made_of| Sample {
        figure: format!("{NAME}: {figure}"),
        unit,
        value,
        target: Some(Target::AtMost(most)),
        beside: made_of,
    };
    let alone = vec![("alone", p99_alone)];
    Ok(vec![
        sample("lost", "messages", lost, 0.0, Vec::new()),
        sample("their p99", "ms", p99, 10.0, alone),
        sample(
            "their p99 over that alone",
            "×",
            p99 / p99_alone,
            3.0,
            Vec::new(),
        ),
    ])
}

/// Waits until the busy room's members get messages.
async fn has_begun(server: &Server) -> anyhow::Result<()> {
    let before = server.counter(DELIVERED).await?;
    while server.counter(DELIVERED).await? - before < BEGUN {
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
