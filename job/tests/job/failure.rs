//! Comets that are away, hung, full or unknown: nothing vanishes uncounted, and
//! nobody else waits.

use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::PushLog;
use halley_job::{BuildError, Comets, Config, Job, Peer};
use halley_node::{Readiness, Registry};
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;
use tonic::Status;

use super::stream_comet::{Nature, StreamComet};
use super::support::{
    Answer, Asked, FakeComet, Fleet, start, to_everyone, to_keys, to_room, until,
};

#[tokio::test(start_paused = true)]
async fn a_comet_that_comes_back_gets_what_was_pushed_meanwhile() {
    let back_at = Instant::now() + Duration::from_secs(10);
    let comet = FakeComet::new(move |_, _| {
        if Instant::now() < back_at {
            Answer::Failed(Status::unavailable("restarting"))
        } else {
            Answer::Taken
        }
    });
    let job = start(Config::default(), &[&comet]);

    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    job.publish((0..100).map(|number| to_keys(&["dev-1", "dev-2"], number)))
        .await;
    job.acknowledged().await;

    for target in ["live://1", "dev-1", "dev-2"] {
        comet.assert_got(target, 0..100);
    }
    assert!(back_at.elapsed() < Duration::from_secs(3));
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 300);
}

#[tokio::test(start_paused = true)]
async fn pushes_that_no_comet_takes_expire_at_their_deadline() {
    let comet = FakeComet::new(|_, _| Answer::Failed(Status::unavailable("gone")));
    let job = start(Config::default(), &[&comet]);
    let published = Instant::now();

    job.publish([to_room("live://1", 1), to_keys(&["a", "b", "c"], 2)])
        .await;
    job.acknowledged().await;

    assert_eq!(published.elapsed(), Duration::from_secs(30));
    assert!(comet.calls() < 200, "{} calls", comet.calls());
    let (_, counts) = job.drained().await;
    assert_eq!(counts.expired, 4);
}

#[tokio::test(start_paused = true)]
async fn messages_expire_one_by_one_from_a_merged_call() {
    let back_at = Instant::now() + Duration::from_secs(35);
    let comet = FakeComet::new(move |_, _| {
        if Instant::now() < back_at {
            Answer::Failed(Status::unavailable("gone"))
        } else {
            Answer::Taken
        }
    });
    let job = start(Config::default(), &[&comet]);

    job.publish([to_room("live://1", 0)]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    job.publish((1..3).map(|number| to_room("live://1", number)))
        .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    job.publish((3..5).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    comet.assert_got("live://1", 3..5);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.expired, counts.delivered), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_without_comets_is_counted() {
    let job = start(Config::default(), &[]);

    job.publish([to_everyone(10, 1), to_room("live://1", 2)])
        .await;
    job.acknowledged().await;

    let (_, counts) = job.drained().await;
    assert_eq!(counts.no_comet, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_comets_is_ready_and_drains() {
    let job = start(Config::default(), &[]);

    while !job.readiness.is_ready() {
        tokio::task::yield_now().await;
    }

    let (outcome, _) = job.drained().await;
    assert_eq!((outcome.clean, outcome.forced), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn comets_share_the_pace_of_a_broadcast() {
    let comets = [
        FakeComet::willing(),
        FakeComet::willing(),
        FakeComet::willing(),
    ];
    let job = start(Config::default(), &comets.each_ref());

    job.publish([0, 1, 32].map(|speed| to_everyone(speed, speed)))
        .await;
    job.acknowledged().await;

    for comet in &comets {
        let speeds = comet.taken().into_iter().map(|taken| match taken.asked {
            Asked::Everyone(request) => request.speed,
            other @ (Asked::Keys(_) | Asked::Room(_)) => panic!("{other:?}"),
        });
        assert_eq!(speeds.collect::<Vec<_>>(), [0, 1, 10]);
    }
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 9);
}

#[tokio::test(start_paused = true)]
async fn a_hung_comet_does_not_stop_the_others() {
    let (willing, hung) = (FakeComet::willing(), FakeComet::hung());
    let config = Config {
        lane_parts_max: 100,
        ..Config::default()
    };
    let job = start(config, &[&willing, &hung]);
    let started = Instant::now();

    job.publish((0..1000).map(|number| to_room("live://1", number)))
        .await;
    while willing.bodies("live://1").len() < 1000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    // One wait for the full lane, and none for those after it.
    let waited = started.elapsed();
    assert!(waited < Duration::from_millis(1200), "{waited:?}");
    willing.assert_got("live://1", 0..1000);
    job.acknowledged().await;
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 1000);
    assert_eq!(counts.expired + counts.queue_full, 1000);
    // Those in its lane, those of its first call, one that waited for room.
    assert!((101..=202).contains(&counts.expired), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_is_too_slow_does_not_set_the_pace_of_the_others() {
    let full_by_parts = Config {
        link_parts_max: 100,
        in_flight_parts_max: 1,
        ..Config::default()
    };
    let full_by_bytes = Config {
        link_bytes_max: 400,
        in_flight_parts_max: 1,
        ..Config::default()
    };
    for config in [full_by_parts, full_by_bytes] {
        let willing = StreamComet::new(Nature::of("comet-1"));
        let slow = StreamComet::new(Nature::of("comet-2").paced(Duration::from_millis(10)));
        let fleet = Fleet::of(&[("comet-1", &willing), ("comet-2", &slow)]);
        let job = fleet.start(config);

        // Twice what it can take, so that there is always room soon.
        for number in 0..2000 {
            job.publish([to_room("live://1", number)]).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let published = Instant::now();
        until(|| willing.bodies("live://1").len() == 2000).await;

        let late = published.elapsed();
        assert!(late < Duration::from_millis(100), "{late:?}");
        willing.assert_got("live://1", 0..2000);
        let got = slow.bodies("live://1").len();
        assert!(got > 500, "{got}: it gets what it can take");
        job.acknowledged().await;
        let (_, counts) = job.drained().await;
        assert!(counts.queue_full > 500, "{counts:?}");
        assert_eq!(counts.delivered + counts.queue_full, 4000, "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_without_a_place_holds_up_neither_rooms_nor_keys() {
    let comet = FakeComet::new(|_, asked| match asked {
        Asked::Everyone(_) => Answer::Failed(Status::resource_exhausted("too many wait")),
        Asked::Keys(_) | Asked::Room(_) => Answer::Taken,
    });
    let config = Config {
        lanes: 1,
        lane_parts_max: 10,
        ..Config::default()
    };
    let job = start(config, &[&comet]);
    let started = Instant::now();

    job.publish((0..30).map(|number| to_everyone(10, number)))
        .await;
    for number in 0..100 {
        job.publish([to_room("live://1", number), to_keys(&["a"], number)])
            .await;
    }
    until(|| ["live://1", "a"].map(|target| comet.bodies(target).len()) == [100, 100]).await;

    // One wait for the broadcasts' full lane, and none for those after it.
    let waited = started.elapsed();
    assert!(waited < Duration::from_millis(1200), "{waited:?}");
    for target in ["live://1", "a"] {
        comet.assert_got(target, 0..100);
    }
    job.acknowledged().await;
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 200);
    assert_eq!(counts.expired + counts.queue_full, 30);
    // Those in the lane, and those that were taken out before.
    assert!((11..=20).contains(&counts.expired), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_only_comet_that_is_hung_keeps_pushes_in_the_log() {
    let back_at = Instant::now() + Duration::from_secs(20);
    let comet = FakeComet::new(move |_, _| {
        if Instant::now() < back_at {
            Answer::Never
        } else {
            Answer::Taken
        }
    });
    let config = Config {
        lane_parts_max: 10,
        ..Config::default()
    };
    let job = start(config, &[&comet]);

    job.publish((0..1000).map(|number| to_room("live://1", number)))
        .await;
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert_eq!(job.log.depth().unwrap().records, 1000);
    assert!(job.counts().records < 50, "the rest was not even read");
    job.acknowledged().await;

    comet.assert_got("live://1", 0..1000);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_leaves_the_others_delivered() {
    // As goim's comet: the first key whose queue is full fails the call, and
    // those after it get nothing.
    let comet = FakeComet::new(|_, asked| {
        if asked.targets().iter().any(|key| key == "full") {
            Answer::Failed(Status::unknown("signal channel full, msg dropped"))
        } else {
            Answer::Taken
        }
    });
    let config = Config {
        lanes: 1,
        ..Config::default()
    };
    let job = start(config, &[&comet]);
    let started = Instant::now();

    job.publish((0..100).map(|number| to_keys(&["a", "full", "b"], number)))
        .await;
    job.acknowledged().await;

    assert_eq!(started.elapsed(), Duration::ZERO, "nobody waited for it");
    for key in ["a", "b"] {
        comet.assert_got(key, 0..100);
    }
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (200, 100));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_leaves_those_merged_with_it_delivered() {
    let comet = FakeComet::new(|_, asked| {
        if asked.bytes() > 1000 {
            Answer::Failed(Status::out_of_range("too large"))
        } else {
            Answer::Taken
        }
    });
    let job = start(Config::default(), &[&comet]);

    let large = "x".repeat(1000);
    let bodies = ["0", "1", &large, "2"];
    job.publish(bodies.map(|body| to_room("live://1", body)))
        .await;
    job.acknowledged().await;

    comet.assert_got("live://1", 0..3);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_push_to_an_unknown_server_is_counted() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);

    job.publish([PushMsg {
        server: "comet-9".to_owned(),
        ..to_keys(&["a", "b"], 1)
    }])
    .await;
    job.acknowledged().await;

    let (_, counts) = job.drained().await;
    assert_eq!((counts.pushes, counts.unknown_server), (2, 2));
    assert_eq!(comet.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn records_that_say_nothing_are_counted() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);

    job.publish([
        PushMsg {
            r#type: 7,
            ..to_room("live://1", 1)
        },
        to_room("", 2),
        to_keys(&[], 3),
    ])
    .await;
    job.acknowledged().await;

    let (_, counts) = job.drained().await;
    assert_eq!(counts.malformed, 3);
    assert_eq!(comet.calls(), 0);
}

#[tokio::test]
async fn two_comets_of_one_name_are_refused() {
    let peer = || Peer {
        server: "comet-1".to_owned(),
        comet: FakeComet::willing(),
    };
    let log = Arc::new(halley_backend::push_log::MemoryPushLog::new(
        halley_backend::push_log::MemoryConfig::default(),
    ));

    let comets = Comets {
        local: vec![peer(), peer()],
        remote: None,
    };
    let refused = Job::build(
        Config::default(),
        log,
        comets,
        &mut Registry::default(),
        &Readiness::default(),
    );

    assert!(matches!(refused, Err(BuildError::DuplicateServer(server)) if server == "comet-1"));
}
