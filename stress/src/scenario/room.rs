//! Pushes to rooms whose members stay: one room, or many of very different sizes.

use super::run::{Members, Run};
use super::{Finished, Stage, open_pace};
use crate::args::{CrowdArgs, RoomArgs, RoomsArgs};
use crate::messages::{Crowd, Layout, Plan, ROOM_TYPE};
use crate::pusher::{Load, Pick};
use crate::report::RoomFindings;
use crate::worker::LARGEST_ROOMS;

pub(super) async fn one(args: &RoomArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let size_bytes = args.pushes.size;
    let members = Members::new(args.members, args.connect_rate, size_bytes, Layout::Room);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let mut run = Run::open("room", &args.common, &members, &servers, stage).await?;
    let load = Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths: vec![path(args.common.operation, run.id, 0)],
        first_stream: 0,
        pick: Pick::InTurn,
        timed: false,
        pace: open_pace(args.rate, &args.pushes),
        lanes: args.concurrency.into(),
        batch: None,
    };
    if !args.calm.is_zero() {
        run.hold("calm", args.calm).await;
        run.readings.connected = run.server.read();
    }
    let settled = run.push(&target, vec![load], &args.pushes).await?;
    if !args.calm.is_zero() {
        run.hold("calm", args.calm).await;
        run.readings.end = run.server.read();
    }
    Ok(run.finish(settled))
}

pub(super) async fn many(args: &RoomsArgs, stage: &Stage<'_>) -> anyhow::Result<Finished> {
    let crowd = args.crowd.crowd();
    let with_everyone = args.broadcasts > 0.0;
    let layout = if with_everyone {
        Layout::RoomsAndEveryone(crowd)
    } else {
        Layout::Rooms(crowd)
    };
    let members = Members::new(args.members, args.connect_rate, args.pushes.size, layout);
    let target = args.pushes.target().await?;
    let servers = [target.address];
    let mut run = Run::open("rooms", &args.common, &members, &servers, stage).await?;
    let load = Load {
        run: run.id,
        size_bytes: members.size_bytes,
        paths: paths(args.common.operation, run.id, crowd),
        first_stream: 0,
        pick: Pick::Drawn(crowd.zipf()),
        timed: false,
        pace: open_pace(args.rate, &args.pushes),
        lanes: args.concurrency.into(),
        batch: None,
    };
    let everyone = Load {
        paths: vec![format!(
            "/goim/push/all?operation={}",
            args.common.operation
        )],
        first_stream: crowd.rooms,
        pick: Pick::InTurn,
        pace: open_pace(args.broadcasts, &args.pushes),
        ..load.clone()
    };
    let mut loads = vec![load];
    loads.extend(with_everyone.then_some(everyone));
    let settled = run.push(&target, loads, &args.pushes).await?;
    run.own.rooms = Some(RoomFindings {
        crowd,
        members: Some(largest(&members)),
    });
    Ok(run.finish(settled))
}

/// Where to push to each room of a crowd.
pub(super) fn paths(operation: i32, run: u64, crowd: Crowd) -> Vec<String> {
    (0..crowd.rooms)
        .map(|room| path(operation, run, room))
        .collect()
}

fn path(operation: i32, run: u64, room: u32) -> String {
    let room = Plan::room(run, room);
    format!("/goim/push/room?operation={operation}&type={ROOM_TYPE}&room={room}")
}

/// How many members are in each of the largest rooms.
fn largest(members: &Members) -> Vec<u64> {
    let zipf = members.layout.crowd().map(Crowd::zipf);
    let mut counts = vec![0; LARGEST_ROOMS as usize];
    for member in 0..members.count {
        let room = members.layout.home(member, zipf.as_ref()) as usize;
        if let Some(count) = counts.get_mut(room) {
            *count += 1;
        }
    }
    counts
}

impl CrowdArgs {
    pub(super) fn crowd(&self) -> Crowd {
        Crowd {
            rooms: self.rooms,
            exponent: self.exponent,
        }
    }
}
