//! How a job ends, and that the log keeps what it has not delivered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::push_log::{
    Delivery, MemoryConfig, MemoryPushLog, PublishError, PushLog, SubscribeError, Subscription,
};
use halley_job::Config;
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;

use super::support::{Answer, FakeComet, local, start, start_from, to_keys, to_room};

#[tokio::test(start_paused = true)]
async fn drain_delivers_everything_accepted() {
    let comet = FakeComet::new(|_, _| Answer::TakenAfter(Duration::from_millis(20)));
    let job = start(Config::default(), &[&comet]);

    job.publish((0..5000).map(|number| to_room("live://1", number)))
        .await;
    job.publish((0..100).map(|number| to_keys(&["a", "b"], number)))
        .await;
    let log = job.log.clone();
    let (outcome, counts) = job.drained().await;

    comet.assert_got("live://1", 0..5000);
    comet.assert_got("a", 0..100);
    assert_eq!((outcome.clean, outcome.forced), (5200, 0));
    assert_eq!((counts.records, counts.delivered), (5100, 5200));
    assert_eq!(log.depth().unwrap().records, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_acknowledged_when_all_of_it_is_delivered() {
    let slow = FakeComet::new(|_, asked| {
        if asked.targets().iter().any(|key| key == "late") {
            Answer::TakenAfter(Duration::from_secs(4))
        } else {
            Answer::Taken
        }
    });
    let config = Config {
        keys_per_call_max: 1,
        ..Config::default()
    };
    let job = start(config, &[&slow]);

    job.publish([to_keys(&["a", "late", "b", "c"], 1)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(job.log.depth().unwrap().records, 1);
    assert_eq!(
        job.counts().pending,
        1 + u64::from(!is_delivered(&slow, "c"))
    );
    tokio::time::sleep(Duration::from_secs(2)).await;

    assert_eq!(job.log.depth().unwrap().records, 0);
    job.drained().await;
}

fn is_delivered(comet: &FakeComet, key: &str) -> bool {
    !comet.bodies(key).is_empty()
}

#[tokio::test(start_paused = true)]
async fn told_to_end_at_once_it_returns_the_rest_to_the_log() {
    let (willing, hung) = (FakeComet::willing(), FakeComet::hung());
    let job = start(Config::default(), &[&willing, &hung]);
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    while willing.bodies("live://1").len() < 100 {
        tokio::task::yield_now().await;
    }

    let log = job.log.clone();
    job.drain.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    job.now.cancel();
    let (outcome, counts) = job.ended().await;

    assert_eq!((counts.delivered, counts.returned), (100, 100));
    assert_eq!(outcome.forced, 100);
    assert_eq!(log.depth().unwrap().records, 100);
    let mut subscription = log.subscribe().await.unwrap();
    for number in 0..100 {
        let again = subscription.next().await.unwrap();
        assert_eq!(again.msg.msg, number.to_string());
        again.ack.done();
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_can_deliver_is_soon_given_back() {
    let (willing, hung) = (FakeComet::willing(), FakeComet::hung());
    let log = MemoryPushLog::new(MemoryConfig::default());
    let read = Arc::new(SharedLog(log.clone()));
    let comets = local(&[&willing, &hung]);
    let job = start_from(Config::default(), comets, read, log.clone());
    job.publish((0..100).map(|number| to_room("live://1", number)))
        .await;
    while willing.bodies("live://1").len() < 100 {
        tokio::task::yield_now().await;
    }

    let told = Instant::now();
    job.drain.cancel();
    let (outcome, counts) = job.ended().await;

    assert!(told.elapsed() < 2 * PATIENCE, "{:?}", told.elapsed());
    assert_eq!((counts.delivered, counts.returned), (100, 100));
    assert_eq!(outcome.forced, 0, "nobody cut it off");
    assert_eq!(log.depth().unwrap().records, 100);
}

const PATIENCE: Duration = Duration::from_secs(2);

/// A log that other jobs read, too.
#[derive(Debug)]
struct SharedLog(MemoryPushLog);

struct Share {
    inner: Box<dyn Subscription>,
    is_draining: bool,
}

#[async_trait]
impl PushLog for SharedLog {
    async fn publish(&self, records: Vec<PushMsg>) -> Result<(), PublishError> {
        self.0.publish(records).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        Ok(Box::new(Share {
            inner: self.0.subscribe().await?,
            is_draining: false,
        }))
    }

    async fn close(&self) {}
}

#[async_trait]
impl Subscription for Share {
    async fn next(&mut self) -> Option<Delivery> {
        if self.is_draining {
            return None;
        }
        self.inner.next().await
    }

    fn drain(&mut self) {
        self.is_draining = true;
    }

    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    async fn close(self: Box<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn a_closed_log_alone_does_not_end_the_job() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);
    job.publish([to_room("live://1", 0)]).await;
    job.log.close().await;
    job.acknowledged().await;

    let early = tokio::time::timeout(Duration::from_mins(1), job.drain.cancelled()).await;
    assert!(early.is_err());

    let (outcome, _) = job.drained().await;
    assert_eq!(outcome.forced, 0);
}
