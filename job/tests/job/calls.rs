//! Comets that do not know the stream, as goim's: they are called, key by key,
//! until they know it.

use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::PushLog as _;
use halley_job::Config;
use halley_proto::goim::comet::comet_server::CometServer;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::stream_comet::{Nature, StreamComet};
use super::support::{Answer, FakeComet, Fleet, node, to_keys, to_room, until};

fn goim(comet: &Arc<FakeComet>) -> Router {
    Server::builder().add_service(CometServer::from_arc(Arc::clone(comet)))
}

fn fleet_of(comet: &Arc<FakeComet>) -> Fleet {
    let fleet = Fleet::unknown();
    fleet.network.serve("comet-1", goim(comet));
    fleet.list_at_home(&["comet-1"]);
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_goim_comet_is_called_with_one_key_at_a_time() {
    let comet = FakeComet::willing();
    let fleet = fleet_of(&comet);
    let job = fleet.start(Config::default());

    for number in 0..100 {
        job.publish([
            to_room("live://1", number),
            to_keys(&["a", "b", "c"], number),
        ])
        .await;
    }
    job.acknowledged().await;

    for target in ["live://1", "a", "b", "c"] {
        comet.assert_got(target, 0..100);
    }
    let taken = comet.taken();
    assert!(taken.iter().all(|taken| taken.asked.targets().len() == 1));
    assert!(
        taken.iter().all(|taken| taken.timeout.is_some()),
        "a comet knows when it may stop"
    );
    assert_eq!(job.counts().comets_by_calls, 1);
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.comets_by_calls), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_doubles_nothing_for_the_others() {
    // As goim's comet: keys before the one that fails have got the message.
    let comet = FakeComet::new(|_, asked| {
        if asked.targets().iter().any(|key| key == "full") {
            Answer::Failed(Status::unknown("signal channel full, msg dropped"))
        } else {
            Answer::Taken
        }
    });
    let fleet = fleet_of(&comet);
    let job = fleet.start(Config::default());

    job.publish((0..100).map(|number| to_keys(&["a", "full", "b"], number)))
        .await;
    job.acknowledged().await;

    for key in ["a", "b"] {
        comet.assert_got(key, 0..100);
    }
    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (200, 100));
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_learns_the_stream_is_noticed() {
    let old = FakeComet::willing();
    let fleet = fleet_of(&old);
    let job = fleet.start(Config::default());
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;
    old.assert_got("live://1", 0..100);

    let new = StreamComet::new(Nature::of("comet-1"));
    fleet.network.serve("comet-1", new.services());
    until(|| new.opened() == 1).await;
    assert_eq!(job.counts().comets_by_calls, 0);
    job.publish((100..200).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    new.assert_got("live://1", 100..200);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_is_replaced_while_it_is_called_is_noticed_soon() {
    // It has both services, as Halley's comets do.
    let old = FakeComet::new(|_, _| Answer::Failed(Status::unavailable("going")));
    let fleet = fleet_of(&old);
    let config = Config {
        stream_retry: Duration::from_mins(10),
        ..Config::default()
    };
    let job = fleet.start(config);
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    until(|| old.calls() > 2).await;

    let (new, calls) = (
        StreamComet::new(Nature::of("comet-1")),
        FakeComet::willing(),
    );
    let services = new
        .services()
        .add_service(CometServer::from_arc(Arc::clone(&calls)));
    fleet.network.serve("comet-1", services);
    job.acknowledged().await;
    until(|| new.opened() == 1).await;

    let called = calls.bodies("live://1").len();
    calls.assert_got("live://1", 0..called);
    new.assert_got("live://1", called..100);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 100);
}

#[tokio::test(start_paused = true)]
async fn a_comet_that_forgets_the_stream_is_called() {
    let new = StreamComet::new(Nature::of("comet-1"));
    let fleet = Fleet::of(&[("comet-1", &new)]);
    let job = fleet.start(Config::default());
    job.publish([to_room("live://1", 0)]).await;
    job.acknowledged().await;
    new.hang(true);
    job.publish((1..100).map(|number| to_room("live://1", number)))
        .await;

    let old = FakeComet::willing();
    fleet.network.serve("comet-1", goim(&old));
    job.publish((100..200).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    old.assert_got("live://1", 1..200);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_goim_comet_did_not_get_follows_it_to_its_new_address() {
    // It waits in the lanes, or for room in them.
    for in_flight_parts_max in [Config::default().in_flight_parts_max, 1] {
        let old = FakeComet::hung();
        let fleet = fleet_of(&old);
        let job = fleet.start(Config {
            in_flight_parts_max,
            ..Config::default()
        });
        for number in 0..100 {
            job.publish([to_room("live://1", number), to_keys(&["a", "b"], number)])
                .await;
        }
        until(|| job.counts().records == 200).await;

        let new = FakeComet::willing();
        fleet.network.serve("elsewhere", goim(&new));
        fleet.list([node("comet-1", "elsewhere", 2)]);
        let listed = Instant::now();
        job.acknowledged().await;

        let took = listed.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        for target in ["live://1", "a", "b"] {
            new.assert_got(target, 0..100);
        }
        let (_, counts) = job.drained().await;
        assert_eq!(counts.delivered, 300);
    }
}

#[tokio::test(start_paused = true)]
async fn an_only_goim_comet_that_restarts_gets_what_was_pushed_meanwhile() {
    let back_at = Instant::now() + Duration::from_secs(3);
    let comet = FakeComet::new(move |_, _| {
        if Instant::now() < back_at {
            Answer::Failed(Status::unavailable("restarting"))
        } else {
            Answer::Taken
        }
    });
    let fleet = fleet_of(&comet);
    let job = fleet.start(Config::default());

    // More to one room than its lane holds.
    for number in 0..1500 {
        job.publish([to_room("live://1", number)]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    job.acknowledged().await;

    comet.assert_got("live://1", 0..1500);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 1500);
}

#[tokio::test(start_paused = true)]
async fn a_hung_goim_comet_holds_no_more_than_one_with_a_stream() {
    let (hung, willing) = (FakeComet::hung(), StreamComet::new(Nature::of("comet-2")));
    let fleet = fleet_of(&hung);
    fleet.network.serve("comet-2", willing.services());
    fleet.list_at_home(&["comet-1", "comet-2"]);
    let config = Config {
        link_parts_max: 100,
        in_flight_parts_max: 80,
        ..Config::default()
    };
    let job = fleet.start(config);

    let rooms: Vec<_> = (0..50).map(|number| format!("live://{number}")).collect();
    for number in 0..40 {
        job.publish(rooms.iter().map(|room| to_room(room, number)))
            .await;
    }
    until(|| rooms.iter().all(|room| willing.bodies(room).len() == 40)).await;

    // Of the queue, of what is dealt to the lanes, in them, and in their hands.
    let held = job.log.depth().unwrap().records;
    assert!(held <= 100 + 100 + 80 + 8, "{held}");
    job.acknowledged().await;
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_goim_comet_that_is_away_when_the_job_starts_is_called_later() {
    let comet = FakeComet::willing();
    let fleet = Fleet::unknown();
    fleet.list_at_home(&["comet-1"]);
    let job = fleet.start(Config::default());

    job.publish((0..100).map(|number| to_keys(&["a"], number)))
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    fleet.network.serve("comet-1", goim(&comet));
    job.acknowledged().await;

    comet.assert_got("a", 0..100);
    job.drained().await;
}
