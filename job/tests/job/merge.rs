//! Room messages are merged within their limits, and never wait without need.

use std::time::Duration;

use halley_job::Config;
use tokio::time::Instant;

use super::support::{Answer, Asked, FakeComet, start, to_keys, to_room};

#[tokio::test(start_paused = true)]
async fn a_message_to_an_idle_room_is_sent_at_once() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);

    for number in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let published = Instant::now();
        job.publish([to_room("live://1", number)]).await;
        job.acknowledged().await;
        assert_eq!(comet.taken()[number].started, published);
    }

    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_rooms_window_follows_the_comets_pace() {
    let pace = Duration::from_millis(3);
    let comet = FakeComet::new(move |_, _| Answer::TakenAfter(pace));
    let job = start(Config::default(), &[&comet]);

    for number in 0..100 {
        job.publish([to_room("live://1", number)]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    job.acknowledged().await;

    let taken = comet.taken();
    for pair in taken.windows(2) {
        let apart = pair[1].started - pair[0].started;
        assert!((6..=7).contains(&apart.as_millis()), "{apart:?}");
    }
    assert!(taken.len() < 20, "{} calls", taken.len());
    comet.assert_got("live://1", 0..100);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn the_window_has_a_cap() {
    let pace = Duration::from_millis(8);
    let comet = FakeComet::new(move |_, _| Answer::TakenAfter(pace));
    let job = start(Config::default(), &[&comet]);

    for number in 0..100 {
        job.publish([to_room("live://1", number)]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    job.acknowledged().await;

    for pair in comet.taken().windows(2) {
        let apart = pair[1].started - pair[0].started;
        assert!((10..=11).contains(&apart.as_millis()), "{apart:?}");
    }
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn pushes_to_keys_wait_for_no_window() {
    let comet = FakeComet::new(|_, _| Answer::TakenAfter(Duration::from_millis(3)));
    let job = start(Config::default(), &[&comet]);

    job.publish((0..2).map(|number| to_keys(&["dev-1"], number)))
        .await;
    job.acknowledged().await;
    job.publish([to_keys(&["dev-1"], 2)]).await;
    job.acknowledged().await;

    let taken = comet.taken();
    let apart = taken[taken.len() - 1].started - taken[taken.len() - 2].started;
    assert_eq!(apart, Duration::from_millis(3));
    comet.assert_got("dev-1", 0..3);
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn calls_keep_the_limit_on_messages() {
    let config = Config {
        merge_messages_max: 10,
        ..Config::default()
    };

    let calls = calls_of_a_burst(config).await;

    assert_eq!(
        calls.iter().map(|asked| asked.bodies().len()).max(),
        Some(10)
    );
}

#[tokio::test(start_paused = true)]
async fn calls_keep_the_limit_on_bytes() {
    let config = Config {
        merge_bytes_max: 200,
        ..Config::default()
    };

    let calls = calls_of_a_burst(config).await;

    let largest = calls.iter().map(Asked::bytes).max().unwrap();
    // The message that reaches the limit is the last.
    assert!((200..200 + 20).contains(&largest), "{largest} bytes");
}

async fn calls_of_a_burst(config: Config) -> Vec<Asked> {
    let comet = FakeComet::new(|_, _| Answer::TakenAfter(Duration::from_millis(1)));
    let job = start(config, &[&comet]);

    job.publish((0..1000).map(|number| to_room("live://1", number)))
        .await;
    job.acknowledged().await;

    comet.assert_got("live://1", 0..1000);
    job.drained().await;
    comet.taken().into_iter().map(|taken| taken.asked).collect()
}
