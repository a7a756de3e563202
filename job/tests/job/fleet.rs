//! Comets that come, go and move: what is for them follows, waits for a while,
//! and is counted.

use std::time::Duration;

use halley_job::Config;
use halley_proto::halley::node::NodeStatus;
use tokio::time::Instant;

use super::stream_comet::{Nature, StreamComet};
use super::support::{Fleet, node, to_everyone, to_keys_of, to_room, until};

fn comet(server: &str) -> StreamComet {
    StreamComet::new(Nature::of(server))
}

#[tokio::test(start_paused = true)]
async fn a_comet_at_another_address_gets_what_the_old_one_did_not() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    let fleet = Fleet::of(&[("comet-1", &old)]);
    let job = fleet.start(Config::default());
    job.publish((0..10).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;
    old.hang(true);
    job.publish((10..1000).map(|number| to_room("live://1", number)))
        .await;
    until(|| job.counts().in_flight > 0).await;

    fleet.network.serve("elsewhere", new.services());
    fleet.list([node("comet-1", "elsewhere", 2)]);
    job.publish((1000..1500).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    old.assert_got("live://1", 0..10);
    new.assert_got("live://1", 10..1500);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 1500);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_late_doubles_nothing() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    let fleet = Fleet::of(&[("comet-1", &old)]);
    let job = fleet.start(Config::default());
    job.publish((0..10).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    // It is started again, and reached, before the registry says so.
    fleet.network.take_down("comet-1");
    fleet.network.serve("comet-1", new.services());
    new.mute(true);
    job.publish((10..20).map(|number| to_room("live://1", number)))
        .await;
    until(|| new.bodies("live://1").len() == 10).await;
    fleet.list([node("comet-1", "comet-1", 2)]);
    until(|| new.opened() == 2).await;
    new.mute(false);
    job.acknowledged().await;

    old.assert_got("live://1", 0..10);
    new.assert_got("live://1", 10..20);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_two_runs_of_a_comet_is_the_one() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    let fleet = Fleet::unknown();
    fleet.network.serve("old", old.services());
    fleet.network.serve("new", new.services());
    fleet.list([node("comet-1", "new", 2), node("comet-1", "old", 1)]);
    let job = fleet.start(Config::default());

    job.publish([to_room("live://1", 0)]).await;
    job.acknowledged().await;

    new.assert_got("live://1", 0..1);
    assert_eq!(job.counts().pushes, 1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn another_comet_at_a_stale_address_gets_nothing() {
    let (other, right) = (comet("comet-2"), comet("comet-1"));
    let fleet = Fleet::unknown();
    fleet.network.serve("address", other.services());
    fleet.list([node("comet-1", "address", 1)]);
    let job = fleet.start(Config::default());
    job.publish([to_keys_of("comet-1", &["a"], 0)]).await;
    until(|| other.opened() > 2).await;

    fleet.network.serve("right", right.services());
    fleet.list([node("comet-1", "right", 1)]);
    job.acknowledged().await;

    assert!(other.carried().is_empty());
    right.assert_got("a", 0..1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_to_a_server_that_the_registry_names_late_is_delivered() {
    let (known, late) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &known)]);
    fleet.network.serve("comet-2", late.services());
    let job = fleet.start(Config::default());

    job.publish((0..100).map(|number| to_keys_of("comet-2", &["a"], number)))
        .await;
    job.publish([to_keys_of("comet-1", &["b"], 0)]).await;
    until(|| known.carried().len() == 1).await;
    assert_eq!(job.counts().pending, 100, "nobody waits for them");
    fleet.list_at_home(&["comet-1", "comet-2"]);
    job.publish((100..200).map(|number| to_keys_of("comet-2", &["a"], number)))
        .await;
    job.acknowledged().await;

    late.assert_got("a", 0..200);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_to_a_server_that_nobody_has_is_dropped_after_the_grace() {
    let known = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &known)]);
    let config = Config {
        unknown_server_parts_max: 10,
        ..Config::default()
    };
    let job = fleet.start(config);
    let published = Instant::now();

    job.publish((0..15).map(|number| to_keys_of("nobody", &["a", "b"], number)))
        .await;
    job.publish([to_keys_of("comet-1", &["b"], 0)]).await;
    until(|| known.carried().len() == 1).await;
    assert!(published.elapsed() < Duration::from_secs(1));
    assert_eq!(job.counts().unknown_server, 10, "more than may wait");
    job.acknowledged().await;

    assert_eq!(published.elapsed(), Duration::from_secs(5));
    let (_, counts) = job.drained().await;
    assert_eq!((counts.unknown_server, counts.delivered), (30, 1));
}

#[tokio::test(start_paused = true)]
async fn records_wait_in_the_log_until_the_comets_are_known() {
    let comet = comet("comet-1");
    let fleet = Fleet::unknown();
    fleet.network.serve("comet-1", comet.services());
    let job = fleet.start(Config::default());
    until(|| job.readiness.is_ready()).await;

    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(job.counts().records, 0);
    fleet.list_at_home(&["comet-1"]);
    job.acknowledged().await;

    comet.assert_got("live://1", 0..100);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_disappears_is_delivered_to_while_it_may_come_back() {
    let (one, two) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one), ("comet-2", &two)]);
    let job = fleet.start(Config::default());
    until(|| one.opened() == 1 && two.opened() == 1).await;

    // It stands still for a while, and its lease runs out.
    two.hang(true);
    fleet.network.silence("comet-2", true);
    fleet.list_at_home(&["comet-1"]);
    job.publish([to_keys_of("comet-2", &["a"], 0), to_room("live://1", 0)])
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    two.hang(false);
    fleet.network.silence("comet-2", false);
    fleet.list_at_home(&["comet-1", "comet-2"]);
    job.acknowledged().await;

    two.assert_got("a", 0..1);
    two.assert_got("live://1", 0..1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_is_gone_gets_nothing_new_and_its_parts_expire() {
    let (one, two) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one), ("comet-2", &two)]);
    let job = fleet.start(Config::default());
    until(|| one.opened() == 1 && two.opened() == 1).await;

    fleet.network.take_down("comet-2");
    fleet.list_at_home(&["comet-1"]);
    job.publish([to_room("live://1", 0)]).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let counts = job.counts();
    assert_eq!(
        (counts.delivered, counts.expired, counts.pending),
        (1, 1, 0)
    );
    job.publish([to_room("live://1", 1), to_keys_of("comet-2", &["a"], 0)])
        .await;
    job.acknowledged().await;

    one.assert_got("live://1", 0..2);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.expired), (2, 1));
    assert_eq!(counts.unknown_server, 1);
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_drained_is_gone_at_once() {
    let (one, two) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one), ("comet-2", &two)]);
    let job = fleet.start(Config::default());
    until(|| one.opened() == 1 && two.opened() == 1).await;
    let draining = NodeStatus {
        draining: true,
        ..node("comet-2", "comet-2", 1)
    };
    fleet.list([node("comet-1", "comet-1", 1), draining]);
    job.publish([to_room("live://1", 0)]).await;
    job.acknowledged().await;
    two.assert_got("live://1", 0..1);

    two.leave();
    until(|| job.counts().queued == 0).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    job.publish([to_room("live://1", 1), to_keys_of("comet-2", &["a"], 0)])
        .await;
    until(|| job.counts().queued == 2).await;
    let listed = Instant::now();
    fleet.list_at_home(&["comet-1"]);
    job.publish([to_room("live://1", 2)]).await;
    job.acknowledged().await;

    assert_eq!(listed.elapsed(), Duration::ZERO);
    one.assert_got("live://1", 0..3);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.comet_left), (4, 2));
    assert_eq!(counts.streams_broken, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_comet_that_left_goes_to_its_next_run() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    let fleet = Fleet::of(&[("comet-1", &old)]);
    let job = fleet.start(Config::default());
    until(|| old.opened() == 1).await;

    old.leave();
    tokio::time::sleep(Duration::from_millis(1)).await;
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    fleet.list([]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.network.serve("elsewhere", new.services());
    fleet.list([node("comet-1", "elsewhere", 2)]);
    job.acknowledged().await;

    new.assert_got("live://1", 0..100);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_comet_that_is_gone_did_not_report_goes_to_its_next_run_first() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    let fleet = Fleet::of(&[("comet-1", &old)]);
    let job = fleet.start(Config::default());
    until(|| old.opened() == 1).await;
    old.hang(true);
    job.publish((0..10).map(|number| to_room("live://1", number)))
        .await;
    until(|| job.counts().in_flight == 10).await;

    let draining = NodeStatus {
        draining: true,
        ..node("comet-1", "comet-1", 1)
    };
    fleet.list([draining]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    fleet.network.take_down("comet-1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.list([]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.network.serve("elsewhere", new.services());
    fleet.list([node("comet-1", "elsewhere", 2)]);
    job.publish((10..20).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    new.assert_got("live://1", 0..20);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 20);
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_is_new_does_not_wait_for_an_only_one_that_is_full() {
    let (full, new) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &full)]);
    let config = Config {
        link_parts_max: 10,
        in_flight_parts_max: 10,
        ..Config::default()
    };
    let wait = config.queue_wait;
    let job = fleet.start(config);
    until(|| full.opened() == 1).await;
    full.hang(true);
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    until(|| job.counts().queued == 10).await;

    let listed = Instant::now();
    fleet.network.serve("comet-2", new.services());
    fleet.list_at_home(&["comet-1", "comet-2"]);
    until(|| new.bodies("live://1").last() == Some(&"99".to_owned())).await;

    assert!(listed.elapsed() <= 2 * wait, "{:?}", listed.elapsed());
    job.acknowledged().await;
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_the_registry_lost_is_delivered_to_while_its_stream_lives() {
    let (one, two) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one), ("comet-2", &two)]);
    let job = fleet.start(Config::default());
    until(|| one.opened() == 1 && two.opened() == 1).await;

    fleet.list_at_home(&["comet-1"]);
    tokio::time::sleep(Duration::from_mins(5)).await;
    job.publish([to_keys_of("comet-2", &["a"], 0)]).await;
    job.acknowledged().await;

    two.assert_got("a", 0..1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn the_comets_there_are_share_the_pace_of_a_broadcast() {
    use halley_proto::halley::delivery::item::Target;

    let (one, two) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &one)]);
    fleet.network.serve("comet-2", two.services());
    let job = fleet.start(Config::default());
    job.publish([to_everyone(32, 0)]).await;
    job.acknowledged().await;

    fleet.list_at_home(&["comet-1", "comet-2"]);
    until(|| two.opened() == 1).await;
    job.publish([to_everyone(32, 1)]).await;
    job.acknowledged().await;

    let speeds = one
        .carried()
        .into_iter()
        .map(|carried| match carried.item.target {
            Some(Target::All(all)) => all.speed,
            other => panic!("{other:?}"),
        });
    assert_eq!(speeds.collect::<Vec<_>>(), [32, 16]);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn drained_it_follows_a_comet_that_moves() {
    let (old, new) = (comet("comet-1"), comet("comet-1"));
    old.hang(true);
    let fleet = Fleet::of(&[("comet-1", &old)]);
    let job = fleet.start(Config::default());
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    until(|| job.counts().records == 100).await;

    let moving = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        fleet.network.serve("elsewhere", new.services());
        fleet.list([node("comet-1", "elsewhere", 2)]);
    };
    let ((outcome, _), ()) = tokio::join!(job.drained(), moving);

    new.assert_got("live://1", 0..100);
    assert_eq!((outcome.clean, outcome.forced), (100, 0));
}
