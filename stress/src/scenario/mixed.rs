//! A day of instant messaging: users come, go, change rooms and read late, while rooms and users are pushed to.

use std::time::Duration;

use super::run::{Members, Run};
use super::{Finished, Stage, milliseconds, open_pace, room, users};
use crate::args::{Address, MixedArgs, SoakArgs};
use crate::clock::now_ns;
use crate::growth::per_second;
use crate::messages::{Day, Layout, Settled};
use crate::pusher::{Load, Pick};
use crate::report::{Growth, RoomFindings};
use crate::series::Sample;

/// Growth per hour that a long run may have, bytes.
const GROWTH_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// What is seen in a shorter time says little about an hour, seconds.
const JUDGED_SECONDS_MIN: f64 = 600.0;
const SECONDS_PER_HOUR: f64 = 3600.0;

pub(super) async fn mixed(args: &MixedArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let (run, settled, _) = live("mixed", args, None, stage).await?;
    Ok(run.finish(settled))
}

pub(super) async fn soak(args: &SoakArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let sample_every = Some(args.sample_every);
    let (mut run, settled, begun_ns) = live("soak", &args.mixed, sample_every, stage).await?;
    let warm_up_seconds = args.warm_up().as_secs_f64();
    let last_ns = run.last_push_ns().unwrap_or(u64::MAX);
    let (samples, from, to) = {
        let series = run.series.lock();
        let samples: Vec<(f64, Sample)> = series.samples().map(|(at, one)| (at, *one)).collect();
        let from = series.seconds_at(begun_ns) + warm_up_seconds;
        (samples, from, series.seconds_at(last_ns))
    };
    let mut growth = grown(&samples, from, to);
    growth.warm_up_seconds = warm_up_seconds;
    let interrupted = run.interrupt.token.is_cancelled();
    let cut_to = interrupted.then_some(growth.seconds);
    growth.bytes_per_hour_max = allowed(args, cut_to);
    run.own.growth = Some(growth);
    Ok(run.finish(settled))
}

/// The growth per hour that is allowed; `None` if the run is not judged by it. What decides is the planned length, so
/// that a run in which nothing is seen of the server fails instead of passing as a short one; if it was interrupted,
/// how many seconds of it count.
fn allowed(args: &SoakArgs, cut_to: Option<f64>) -> Option<f64> {
    let planned = args.mixed.pushes.duration.saturating_sub(args.warm_up());
    let seconds = cut_to.unwrap_or(planned.as_secs_f64());
    let by_itself = (seconds >= JUDGED_SECONDS_MIN).then_some(GROWTH_MAX);
    args.growth_max.or(by_itself)
}

/// Runs the day; with it when it began.
async fn live(
    scenario: &'static str,
    args: &MixedArgs,
    sample_every: Option<Duration>,
    stage: &Stage<'_>,
) -> anyhow::Result<(Run, Settled, u64)> {
    let crowd = args.crowd.crowd();
    let layout = Layout::RoomsAndUsers(crowd);
    let mut members = Members::new(args.users, args.connect_rate, args.pushes.size, layout);
    members.day = Some(Day {
        online_share: args.online,
        turnover_per_second: args.turnover,
        changes_per_second: args.changes,
        slow_share: args.slow,
        slow_pause_ms: milliseconds(args.slow_pause),
        grace_ms: milliseconds(args.grace),
    });
    members.sample_every = sample_every.unwrap_or(members.sample_every);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let mut run = Run::open(scenario, &args.common, &members, &servers, stage).await?;
    let operation = args.common.operation;
    let load = |rate: f64, paths, first_stream, pick| Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths,
        first_stream,
        pick,
        timed: true,
        pace: open_pace(rate, &args.pushes),
        lanes: args.concurrency.into(),
        batch: None,
    };
    let rooms = load(
        args.rate,
        room::paths(operation, run.id, crowd),
        0,
        Pick::Drawn(crowd.zipf()),
    );
    let single = load(
        args.user_rate,
        users::paths(operation, run.id, args.users, Address::Keys),
        crowd.rooms,
        Pick::InTurn,
    );
    let loads = [(args.rate, rooms), (args.user_rate, single)]
        .into_iter()
        .filter_map(|(rate, load)| (rate > 0.0).then_some(load))
        .collect();
    let begun_ns = now_ns();
    let settled = run.push(&target, loads, &args.pushes).await?;
    run.own.day = true;
    run.own.rooms = Some(RoomFindings {
        crowd,
        members: None,
    });
    Ok((run, settled, begun_ns))
}

/// The growth between two moments, seconds after the epoch.
fn grown(samples: &[(f64, Sample)], from: f64, to: f64) -> Growth {
    let counted = samples.iter().filter(|(at, _)| (from..=to).contains(at));
    let usages: Vec<(f64, (u64, u64))> = counted
        .filter_map(|(at, sample)| {
            let usage = sample.usage?;
            Some((*at, (usage.rss_bytes, usage.files)))
        })
        .collect();
    let per_hour = |of: fn((u64, u64)) -> u64| {
        let values: Vec<(f64, f64)> = usages
            .iter()
            .map(|(at, usage)| (*at, as_f64(of(*usage))))
            .collect();
        per_second(&values).map(|growth| growth * SECONDS_PER_HOUR)
    };
    let seconds = match (usages.first(), usages.last()) {
        (Some((first, _)), Some((last, _))) => last - first,
        _ => 0.0,
    };
    Growth {
        seconds,
        samples: usages.len() as u64,
        bytes_per_hour: per_hour(|(bytes, _)| bytes),
        files_per_hour: per_hour(|(_, files)| files),
        ..Growth::default()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; exact below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        soak: SoakArgs,
    }

    #[test]
    fn a_long_soak_is_judged_whatever_was_seen_of_the_server() {
        let soak = |line: &str| Cli::parse_from(line.split(' ')).soak;
        assert_eq!(allowed(&soak("soak"), None), Some(GROWTH_MAX));
        assert_eq!(allowed(&soak("soak"), Some(5.0)), None);
        assert_eq!(allowed(&soak("soak -d 12m"), None), None);
        let asked = "soak -d 1m --growth-max 1B";
        assert_eq!(allowed(&soak(asked), Some(5.0)), Some(1.0));
    }
}
