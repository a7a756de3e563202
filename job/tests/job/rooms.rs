//! Messages to a room go only to comets that hold it, and never miss one whose
//! report was returned.

use std::time::Duration;

use halley_job::Config;
use tokio::time::Instant;

use super::stream_comet::{Nature, StreamComet};
use super::support::{Fleet, to_everyone, to_room, until};

const LEASE: Duration = Duration::from_secs(1);

fn reporting(server: &str) -> StreamComet {
    StreamComet::new(Nature::of(server).with_rooms(LEASE))
}

/// Says that these are all of a comet's rooms, and waits until the job knows.
async fn holds_only(comet: &StreamComet, rooms: &[&str]) {
    until(|| comet.beats() > 0).await;
    let version = comet.say(rooms, &[], true).await;
    until(|| comet.returned() == version).await;
    // The beat that gives the lease may be the next one.
    let beats = comet.beats();
    until(|| comet.beats() > beats).await;
}

#[tokio::test(start_paused = true)]
async fn a_room_goes_only_to_the_comets_that_hold_it() {
    let (one, two) = (reporting("comet-1"), reporting("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one), ("comet-2", &two)]);
    let job = fleet.start(Config::default());
    holds_only(&one, &["live://1", "live://2"]).await;
    holds_only(&two, &["live://2"]).await;

    job.publish([
        to_room("live://1", 0),
        to_room("live://2", 0),
        to_room("live://3", 0),
        to_everyone(0, 0),
    ])
    .await;
    job.acknowledged().await;

    assert_eq!(one.carried().len(), 3);
    assert_eq!(two.carried().len(), 2);
    assert!(two.bodies("live://1").is_empty());
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.no_member), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn changes_are_returned_at_once_without_pushes() {
    let comet = reporting("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    until(|| comet.opened() == 1).await;

    let said = Instant::now();
    let version = comet.say(&["live://1"], &[], true).await;
    while comet.returned() < version {
        tokio::task::yield_now().await;
    }

    assert_eq!(said.elapsed(), Duration::ZERO);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn no_message_after_a_returned_join_is_missed() {
    let comet = reporting("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    holds_only(&comet, &[]).await;

    for round in 0..200 {
        let room = format!("live://{round}");
        job.publish([to_room(&room, "early")]).await;
        let version = comet.say(&[&room], &[], false).await;
        while comet.returned() < version {
            tokio::task::yield_now().await;
        }
        job.publish([to_room(&room, "late")]).await;
        job.acknowledged().await;
        assert_eq!(comet.bodies(&room).last().unwrap(), "late");
        let version = comet.say(&[], &[&room], false).await;
        until(|| comet.returned() == version).await;
        let before = comet.carried().len();
        job.publish([to_room(&room, "gone")]).await;
        job.acknowledged().await;
        assert_eq!(comet.carried().len(), before);
    }

    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_has_not_reported_all_its_rooms_gets_every_room() {
    let (silent, partial) = (
        StreamComet::new(Nature::of("comet-1")),
        reporting("comet-2"),
    );
    let fleet = Fleet::of(&[("comet-1", &silent), ("comet-2", &partial)]);
    let job = fleet.start(Config::default());
    until(|| silent.beats() > 0 && partial.beats() > 1).await;
    let version = partial.say(&["live://1"], &[], false).await;
    until(|| partial.returned() == version).await;

    job.publish([to_room("live://2", 0)]).await;
    job.acknowledged().await;

    silent.assert_got("live://2", 0..1);
    partial.assert_got("live://2", 0..1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_without_a_stream_gets_every_room() {
    let comet = reporting("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    holds_only(&comet, &[]).await;

    fleet.network.take_down("comet-1");
    until(|| job.counts().streams_broken == 1).await;
    job.publish([to_room("live://1", 0)]).await;
    fleet.network.serve("comet-1", comet.services());
    job.acknowledged().await;

    comet.assert_got("live://1", 0..1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_is_silent_for_longer_than_its_lease_gets_every_room() {
    let comet = reporting("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    holds_only(&comet, &[]).await;
    job.publish([to_room("live://1", "spared")]).await;
    job.acknowledged().await;

    fleet.network.silence("comet-1", true);
    tokio::time::sleep(LEASE).await;
    assert_eq!(job.counts().streams_broken, 0, "the stream seems to live");
    job.publish([to_room("live://1", 0)]).await;
    tokio::time::sleep(LEASE).await;
    fleet.network.silence("comet-1", false);
    job.acknowledged().await;

    comet.assert_got("live://1", 0..1);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.no_member, counts.delivered), (1, 1));
}
