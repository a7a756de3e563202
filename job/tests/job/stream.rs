//! Delivery by the stream: in order, nothing lost and nothing doubled by a stream
//! that breaks, and no more under way than agreed.

use std::time::Duration;

use halley_backend::push_log::PushLog;
use halley_job::Config;
use halley_proto::halley::delivery::item::Target;
use tokio::time::Instant;

use super::stream_comet::{Nature, StreamComet};
use super::support::{FakeComet, Fleet, to_everyone, to_keys, to_keys_of, to_room, until};

fn comet(server: &str) -> StreamComet {
    StreamComet::new(Nature::of(server))
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_push_is_carried_in_order() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    for number in 0..300 {
        job.publish([
            to_room("live://1", number),
            to_keys(&["a", "b"], number),
            to_keys(&["b"], number + 1000),
            to_everyone(7, number),
        ])
        .await;
    }
    job.acknowledged().await;

    comet.assert_got("live://1", 0..300);
    comet.assert_got("a", 0..300);
    comet.assert_got("everyone", 0..300);
    let of_b = (0..300).flat_map(|number| [number, number + 1000]);
    let of_b: Vec<_> = of_b.map(|number| number.to_string()).collect();
    assert_eq!(comet.bodies("b"), of_b);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 300 * 5);
    assert_eq!((counts.streams_opened, counts.streams_broken), (1, 0));
    assert_eq!(comet.ended_in_order(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_item_says_what_a_call_does() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    job.publish([to_keys(&["a", "b"], 1), to_everyone(32, 2)])
        .await;
    job.acknowledged().await;

    let targets = comet
        .carried()
        .into_iter()
        .map(|carried| carried.item.target.unwrap());
    let targets: Vec<_> = targets.collect();
    match targets.as_slice() {
        [Target::Keys(keys), Target::All(all)] => {
            assert_eq!(
                (keys.keys.as_slice(), keys.operation),
                (&["a".to_owned(), "b".to_owned()][..], 1000)
            );
            assert_eq!((all.operation, all.speed), (1000, 32));
        }
        other => panic!("{other:?}"),
    }
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_loses_and_doubles_nothing() {
    let comet = StreamComet::new(Nature::of("comet-1").paced(Duration::from_millis(2)));
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    for number in 0..2000 {
        job.publish([to_room("live://1", number), to_keys(&["a"], number)])
            .await;
        if number % 100 == 50 {
            tokio::time::sleep(Duration::from_millis(u64::try_from(number % 7).unwrap())).await;
            fleet.network.cut("comet-1");
        }
        if number % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    job.acknowledged().await;

    comet.assert_got("live://1", 0..2000);
    comet.assert_got("a", 0..2000);
    assert!(comet.opened() > 2, "{} streams", comet.opened());
    assert_eq!(comet.sessions(), 1);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 4000);
    assert!(counts.streams_broken > 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_report_was_about_is_not_sent_twice() {
    let comet = comet("comet-1");
    comet.mute(true);
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    until(|| comet.bodies("live://1").len() == 100).await;
    assert_eq!(job.counts().delivered, 0);
    comet.mute(false);
    fleet.network.cut("comet-1");
    job.acknowledged().await;

    comet.assert_got("live://1", 0..100);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 100);
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_was_started_again_gets_what_the_last_one_did_not_report() {
    let first = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &first)]);
    let job = fleet.start(Config::default());
    job.publish((0..10).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    first.hang(true);
    job.publish((10..500).map(|number| to_room("live://1", number)))
        .await;
    fleet.network.take_down("comet-1");
    job.publish((500..1000).map(|number| to_room("live://1", number)))
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = comet("comet-1");
    fleet.network.serve("comet-1", second.services());
    job.acknowledged().await;

    first.assert_got("live://1", 0..10);
    second.assert_got("live://1", 10..1000);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_comet_delays_nobody_and_its_pushes_expire() {
    let (willing, hung) = (comet("comet-1"), comet("comet-2"));
    hung.hang(true);
    let fleet = Fleet::of(&[("comet-1", &willing), ("comet-2", &hung)]);
    let config = Config {
        link_parts_max: 100,
        ..Config::default()
    };
    let job = fleet.start(config);
    let started = Instant::now();

    job.publish((0..1000).map(|number| to_room("live://1", number)))
        .await;
    until(|| willing.bodies("live://1").len() == 1000).await;

    // One wait for the full queue, and none for those after it.
    assert!(
        started.elapsed() < Duration::from_millis(1200),
        "{:?}",
        started.elapsed()
    );
    job.acknowledged().await;
    assert!(
        started.elapsed() <= Duration::from_millis(30_001),
        "{:?}",
        started.elapsed()
    );
    let (_, counts) = job.drained().await;
    assert_eq!(
        (counts.delivered, counts.expired + counts.queue_full),
        (1000, 1000)
    );
    assert!((100..=201).contains(&counts.expired), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_full_is_not_waited_for_again() {
    let (willing, hung) = (comet("comet-1"), comet("comet-2"));
    let fleet = Fleet::of(&[("comet-1", &willing), ("comet-2", &hung)]);
    let config = Config {
        link_parts_max: 100,
        in_flight_parts_max: 10,
        push_deadline: Duration::from_secs(4),
        ..Config::default()
    };
    let job = fleet.start(config);
    job.publish([to_room("live://1", 0)]).await;
    job.acknowledged().await;
    hung.hang(true);
    let started = Instant::now();

    // Parts expire all the time, so there is room now and then.
    for number in 1..2000 {
        job.publish([to_room("live://1", number)]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(|| willing.bodies("live://1").len() == 2000).await;

    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(20_100), "{elapsed:?}");
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_does_not_expire_while_its_stream_lives() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let config = Config {
        call_timeout: Duration::from_mins(2),
        in_flight_parts_max: 1,
        ..Config::default()
    };
    let job = fleet.start(config);
    job.publish([to_keys(&["a"], 0)]).await;
    job.acknowledged().await;

    comet.hang(true);
    job.publish([to_keys(&["a"], 1)]).await;
    until(|| job.counts().in_flight == 1).await;
    job.publish([to_keys(&["b"], 2)]).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let counts = job.counts();
    assert_eq!((counts.expired, counts.pending), (1, 1), "{counts:?}");
    comet.hang(false);
    job.acknowledged().await;

    comet.assert_got("a", 0..2);
    assert!(comet.bodies("b").is_empty());
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_progress_is_cut_and_opened_again() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    job.publish([to_keys(&["a"], 0)]).await;
    job.acknowledged().await;
    fleet.network.silence("comet-1", true);

    job.publish([to_keys(&["a"], 1)]).await;
    until(|| job.counts().streams_broken == 1).await;
    fleet.network.silence("comet-1", false);
    job.acknowledged().await;

    comet.assert_got("a", 0..2);
    assert_eq!(comet.sessions(), 1);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_network_is_noticed_without_pushes() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    until(|| comet.opened() == 1).await;

    fleet.network.silence("comet-1", true);
    let silent_at = Instant::now();
    until(|| job.counts().streams_broken == 1).await;

    let noticed = silent_at.elapsed();
    assert!(noticed < Duration::from_secs(7), "{noticed:?}");
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_to_an_idle_comet_is_sent_at_once() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    for number in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let published = Instant::now();
        job.publish([to_room("live://1", number)]).await;
        job.acknowledged().await;
        assert_eq!(comet.carried()[number].at, published);
    }

    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn pushes_go_together_while_earlier_ones_are_under_way() {
    let comet = StreamComet::new(Nature::of("comet-1").paced(Duration::from_millis(5)));
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let config = Config {
        stream_window_max: Duration::from_secs(1),
        ..Config::default()
    };
    let job = fleet.start(config);

    for number in 0..100 {
        job.publish([to_room("live://1", number), to_keys(&["a"], number)])
            .await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    job.acknowledged().await;

    comet.assert_got("live://1", 0..100);
    comet.assert_got("a", 0..100);
    assert!(
        (15..=25).contains(&comet.messages()),
        "{}",
        comet.messages()
    );
    assert!(
        comet.carried().len() <= 50,
        "{} items",
        comet.carried().len()
    );
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn pushes_do_not_wait_longer_than_the_window() {
    let comet = StreamComet::new(Nature::of("comet-1").paced(Duration::from_secs(1)));
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());
    until(|| comet.opened() == 1).await;

    job.publish([to_keys(&["a"], 0)]).await;
    until(|| job.counts().in_flight == 1).await;
    job.publish([to_keys(&["a"], 1)]).await;
    tokio::time::sleep(Duration::from_millis(2)).await;

    assert_eq!(job.counts().in_flight, 2);
    job.acknowledged().await;
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_under_way_than_agreed() {
    let mut nature = Nature::of("comet-1");
    nature.hello.window_bytes = 1000;
    nature.hello.items_max = 3;
    let comet = StreamComet::new(nature);
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let config = Config {
        in_flight_parts_max: 8,
        ..Config::default()
    };
    let job = fleet.start(config);
    until(|| comet.opened() == 1).await;

    comet.mute(true);
    let body = "x".repeat(200);
    let keys: Vec<_> = (0..50).map(|key| format!("dev-{key}")).collect();
    job.publish(keys.iter().map(|key| to_keys(&[key], &*body)))
        .await;
    until(|| comet.carried().len() == 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        comet.carried().len(),
        4,
        "4 × 216 bytes fit into the window"
    );
    comet.mute(false);
    fleet.network.cut("comet-1");
    job.acknowledged().await;
    comet.mute(true);
    job.publish(keys.iter().map(|key| to_keys(&[key], 1))).await;
    until(|| comet.carried().len() == 58).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(comet.carried().len(), 58, "8 items");

    comet.mute(false);
    fleet.network.cut("comet-1");
    job.acknowledged().await;
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 100);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_refused_is_counted_and_the_next_one_goes_on() {
    let nature = Nature {
        refused: Some("bad"),
        ..Nature::of("comet-1")
    };
    let comet = StreamComet::new(nature);
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    job.publish(["0", "bad", "1"].map(|body| to_keys(&[body], body)))
        .await;
    job.acknowledged().await;

    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_comet_could_take_is_refused_alone() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    let huge = "x".repeat(17 << 20);
    job.publish([
        to_keys(&["a"], "0"),
        to_keys(&["a"], &*huge),
        to_keys(&["a"], "1"),
    ])
    .await;
    job.acknowledged().await;

    comet.assert_got("a", 0..2);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (2, 1));
    assert_eq!(counts.streams_broken, 0);
}

#[tokio::test(start_paused = true)]
async fn a_comet_in_this_process_gets_its_pushes_beside_others() {
    let (remote, local) = (comet("comet-1"), FakeComet::willing());
    let fleet = Fleet::of(&[("comet-1", &remote)]);
    fleet.list_at_home(&["comet-1", "comet-2"]);
    let peer = halley_job::Peer {
        server: "comet-2".to_owned(),
        comet: local.clone(),
    };
    let job = fleet.start_beside(Config::default(), vec![peer]);

    job.publish([
        to_room("live://1", 0),
        to_keys_of("comet-1", &["a"], 0),
        to_keys_of("comet-2", &["b"], 0),
    ])
    .await;
    job.acknowledged().await;

    for (target, counts) in [("live://1", (1, 1)), ("a", (1, 0)), ("b", (0, 1))] {
        let got = (remote.bodies(target).len(), local.bodies(target).len());
        assert_eq!(got, counts, "{target}");
    }
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn drained_it_delivers_everything_over_a_stream_that_breaks() {
    let comet = StreamComet::new(Nature::of("comet-1").paced(Duration::from_millis(20)));
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let config = Config {
        in_flight_parts_max: 10,
        ..Config::default()
    };
    let job = fleet.start(config);
    let keys: Vec<_> = (0..1000).map(|key| format!("dev-{key}")).collect();

    job.publish(keys.iter().map(|key| to_keys(&[key], 0))).await;
    let drained = job.drained();
    let cut = async {
        until(|| comet.carried().len() > 300).await;
        fleet.network.cut("comet-1");
    };
    let ((outcome, counts), ()) = tokio::join!(drained, cut);

    assert_eq!((outcome.clean, outcome.forced), (1000, 0));
    assert_eq!(counts.delivered, 1000);
    assert_eq!(comet.carried().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn told_to_end_at_once_it_returns_what_was_not_reported() {
    let comet = comet("comet-1");
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let config = Config {
        in_flight_parts_max: 10,
        ..Config::default()
    };
    let job = fleet.start(config);
    job.publish([to_keys(&["a"], 0)]).await;
    job.acknowledged().await;
    comet.hang(true);
    let keys: Vec<_> = (0..100).map(|key| format!("dev-{key}")).collect();
    job.publish(keys.iter().map(|key| to_keys(&[key], 0))).await;
    until(|| job.counts().in_flight > 0).await;

    let log = job.log.clone();
    job.drain.cancel();
    job.now.cancel();
    let (outcome, counts) = job.ended().await;

    assert_eq!(
        (counts.delivered, counts.returned, outcome.forced),
        (1, 100, 100)
    );
    assert_eq!(log.depth().unwrap().records, 100);
}
