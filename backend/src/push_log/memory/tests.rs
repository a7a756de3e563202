use futures_util::FutureExt;

use super::*;

fn room(room: &str, body: &'static str) -> PushMsg {
    PushMsg {
        r#type: 1,
        operation: 1000,
        room: room.to_owned(),
        msg: body.into(),
        ..PushMsg::default()
    }
}

fn log(config: MemoryConfig) -> MemoryPushLog {
    MemoryPushLog::new(config)
}

#[tokio::test]
async fn one_subscriber_gets_all_keys_in_order_of_publication() {
    let log = log(MemoryConfig::default());
    for n in 0..500 {
        log.publish(vec![room(&format!("room-{}", n % 37), "")])
            .await
            .unwrap();
    }
    let mut subscription = log.subscribe().await.unwrap();

    for n in 0..500 {
        let delivery = subscription.next().await.unwrap();
        assert_eq!(delivery.msg.room, format!("room-{}", n % 37));
        delivery.ack.done();
    }
}

#[tokio::test]
async fn a_full_log_takes_nothing_until_records_are_acknowledged() {
    let log = log(MemoryConfig {
        records_max: 2,
        retry_after: Duration::from_secs(7),
        ..MemoryConfig::default()
    });
    log.publish(vec![room("a", "1")]).await.unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    let delivery = subscription.next().await.unwrap();

    let two = || vec![room("a", "2"), room("a", "3")];
    let refused = log.publish(two()).await.unwrap_err();
    let advised = Duration::from_secs(7);
    assert!(matches!(refused, PublishError::Full { retry_after } if retry_after == advised));
    assert!(
        subscription.next().now_or_never().is_none(),
        "none was taken"
    );

    delivery.ack.done();
    log.publish(two()).await.unwrap();
    assert_eq!(log.depth().unwrap().records, 2);
}

#[tokio::test]
async fn the_log_is_bounded_by_bytes_too() {
    let bytes = prost::Message::encoded_len(&room("a", "1234"));
    let log = log(MemoryConfig {
        bytes_max: bytes,
        ..MemoryConfig::default()
    });

    let refused = log.publish(vec![room("a", "12345")]).await.unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { records: 1, .. }));
    log.publish(vec![room("a", "1234")]).await.unwrap();
    let refused = log.publish(vec![room("a", "")]).await.unwrap_err();
    assert!(matches!(refused, PublishError::Full { .. }));
    assert_eq!(log.depth().unwrap().bytes, bytes);
}

#[tokio::test]
async fn a_partition_moves_only_when_nothing_of_it_is_held() {
    let log = log(MemoryConfig {
        partitions: 2,
        ..MemoryConfig::default()
    });
    let mut first = log.subscribe().await.unwrap();
    let of_second = |name: &String| super::super::partition(name.as_bytes(), 2) == 1;
    let name = (0..100)
        .map(|n| format!("room-{n}"))
        .find(of_second)
        .unwrap();
    log.publish(vec![room(&name, "1"), room(&name, "2")])
        .await
        .unwrap();
    let held = first.next().await.unwrap();

    let mut second = log.subscribe().await.unwrap();
    assert!(second.next().now_or_never().is_none(), "would overtake");
    assert!(
        first.next().now_or_never().is_none(),
        "is to be handed over"
    );
    held.ack.done();

    assert_eq!(second.next().await.unwrap().msg.msg, "2");
}

#[tokio::test]
async fn late_news_from_a_former_holder_changes_nothing() {
    let log = log(MemoryConfig::default());
    log.publish(vec![room("a", "1")]).await.unwrap();
    let mut first = log.subscribe().await.unwrap();
    let late = first.next().await.unwrap();
    drop(first);
    let mut second = log.subscribe().await.unwrap();
    let again = second.next().await.unwrap();

    late.ack.done();

    assert_eq!(log.depth().unwrap().records, 1);
    again.ack.done();
    assert_eq!(log.depth().unwrap(), Depth::default());
    log.drained().await;
}

#[tokio::test]
async fn draining_hands_out_the_rest_of_this_process() {
    let log = log(MemoryConfig::default());
    log.publish(vec![room("a", "1"), room("a", "2")])
        .await
        .unwrap();
    let mut subscription = log.subscribe().await.unwrap();
    subscription.drain();

    let mut bodies = Vec::new();
    while let Some(delivery) = subscription.next().await {
        bodies.push(delivery.msg.msg.clone());
        delivery.ack.done();
    }

    assert_eq!(bodies, ["1", "2"]);
    subscription.close().await;
}

#[tokio::test(start_paused = true)]
async fn depth_tells_the_age_of_the_oldest_record() {
    let log = log(MemoryConfig::default());
    log.publish(vec![room("a", "1")]).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    log.publish(vec![room("b", "2")]).await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(log.depth().unwrap().oldest, Duration::from_secs(5));

    let mut subscription = log.subscribe().await.unwrap();
    subscription.next().await.unwrap().ack.done();

    assert_eq!(log.depth().unwrap().oldest, Duration::from_secs(3));
}
