//! Messages of one room and of one key arrive in the order of the log.

use std::time::Duration;

use halley_job::Config;
use tonic::Status;

use super::support::{Answer, FakeComet, start, to_everyone, to_keys, to_room};

/// A comet of which every third call fails, before or after it was slow.
fn moody() -> std::sync::Arc<FakeComet> {
    FakeComet::new(|call, _| match call % 3 {
        0 => Answer::TakenAfter(Duration::from_millis(3)),
        1 => Answer::Failed(Status::unavailable("moody")),
        _ => Answer::Taken,
    })
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_room_keep_their_order_when_calls_are_repeated() {
    let (moody, willing) = (moody(), FakeComet::willing());
    let job = start(Config::default(), &[&moody, &willing]);
    for number in 0..500 {
        let rooms = (0..10).map(|room| to_room(&format!("live://{room}"), number));
        job.publish(rooms).await;
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    }

    job.acknowledged().await;

    for comet in [&moody, &willing] {
        for room in 0..10 {
            comet.assert_got(&format!("live://{room}"), 0..500);
        }
    }
    let (_, counts) = job.drained().await;
    assert_eq!(counts.records, 5000);
    assert_eq!(counts.delivered, 10_000);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_key_keep_their_order_when_calls_are_repeated() {
    let comet = moody();
    let config = Config {
        keys_per_call_max: 3,
        push_deadline: Duration::from_mins(30),
        ..Config::default()
    };
    let job = start(config, &[&comet]);
    let keys: Vec<String> = (0..40).map(|key| format!("dev-{key}")).collect();
    let all: Vec<&str> = keys.iter().map(String::as_str).collect();

    // Now and then all keys at once, else some, else one.
    for number in 0..300 {
        job.publish(match number % 3 {
            0 => vec![to_keys(&all, number)],
            1 => all.chunks(7).map(|some| to_keys(some, number)).collect(),
            _ => all.iter().map(|key| to_keys(&[key], number)).collect(),
        })
        .await;
    }
    job.acknowledged().await;

    for key in keys {
        comet.assert_got(&key, 0..300);
    }
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 40 * 300);
}

#[tokio::test(start_paused = true)]
async fn broadcasts_of_an_operation_keep_their_order() {
    let comet = moody();
    let job = start(Config::default(), &[&comet]);

    job.publish((0..100).map(|number| to_everyone(0, number)))
        .await;
    job.acknowledged().await;

    comet.assert_got("everyone", 0..100);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn no_message_is_lost_when_a_batch_ends() {
    let comet = FakeComet::new(|call, _| {
        // Calls of all lengths, so that batches end at any moment.
        let micros = u64::try_from(call % 17).unwrap() * 700;
        Answer::TakenAfter(Duration::from_micros(micros))
    });
    let job = start(Config::default(), &[&comet]);

    for number in 0..20_000_usize {
        job.publish([to_room("live://1", number)]).await;
        match number % 1000 {
            500..990 if number % 10 == 0 => tokio::task::yield_now().await,
            0..990 => {}
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    job.acknowledged().await;

    comet.assert_got("live://1", 0..20_000);
    let (_, counts) = job.drained().await;
    assert_eq!(counts.delivered, 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_one_room_is_delivered_whole() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);

    job.publish((0..20_000).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    comet.assert_got("live://1", 0..20_000);
    job.drained().await;
}
