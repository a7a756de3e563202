use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::*;
use crate::config::SinkWebhookConfig;
use crate::testing::{Measured, PATIENCE, Received, Reply, Server};

const SECRET: &[u8] = b"a secret";

/// A sink that posts to a server of the test.
struct Setup {
    sink: Sink,
    measured: Measured,
    drain: CancellationToken,
    now: CancellationToken,
    _secret: NamedTempFile,
}

impl Setup {
    fn new(server: &Server, change: impl FnOnce(&mut SinkWebhookConfig)) -> Self {
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), SECRET).unwrap();
        let mut config = SinkConfig {
            mode: SinkMode::Webhook,
            webhook: SinkWebhookConfig {
                url: server.url.clone(),
                secret_file: Some(secret.path().to_owned()),
                timeout: PATIENCE,
                linger: Duration::ZERO,
                ..SinkWebhookConfig::default()
            },
            ..SinkConfig::default()
        };
        config.webhook.backoff.min = Duration::from_millis(1);
        config.webhook.backoff.max = Duration::from_millis(1);
        change(&mut config.webhook);
        let measured = Measured::new();
        Self {
            sink: Sink::new(&config, None, Arc::clone(&measured.metrics)).unwrap(),
            measured,
            drain: CancellationToken::new(),
            now: CancellationToken::new(),
            _secret: secret,
        }
    }

    fn push(&self, seqs: impl IntoIterator<Item = i32>) {
        for seq in seqs {
            let message = Message {
                mid: 7,
                op: 4,
                seq,
                ver: 1,
                body: Bytes::from_static(b"hello"),
            };
            assert_eq!(self.sink.push(message), ReceiveOutcome::Queued);
        }
    }

    async fn run(&self) -> DrainOutcome {
        timeout(PATIENCE, self.sink.run(&self.drain, &self.now))
            .await
            .expect("the sink drains")
    }

    fn count(&self, outcome: &str) -> u64 {
        self.measured.value(&format!(
            "halley_logic_sink_messages_total{{outcome=\"{outcome}\"}}"
        ))
    }
}

async fn answering(status: u16) -> Server {
    Server::start(move |_, _| Reply::Answer(status, String::new())).await
}

fn seqs(received: &[Received]) -> Vec<Vec<i64>> {
    received
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let messages = body["messages"].as_array().unwrap();
            messages
                .iter()
                .map(|message| message["seq"].as_i64().unwrap())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn messages_arrive_in_batches_and_in_order() {
    let server = answering(200).await;
    let setup = Setup::new(&server, |config| config.batch_messages_max = 4);
    setup.push(0..10);
    setup.drain.cancel();

    let outcome = setup.run().await;

    assert_eq!(
        seqs(&server.received()),
        [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]
    );
    assert_eq!(
        outcome,
        DrainOutcome {
            clean: 10,
            forced: 0
        }
    );
    assert_eq!(setup.count("sent"), 10);
}

#[tokio::test]
async fn batches_are_signed_with_time_and_body() {
    let server = answering(204).await;
    let setup = Setup::new(&server, |_| {});
    setup.push([3]);
    setup.drain.cancel();
    setup.run().await;

    let Received { headers, body } = &server.received()[0];
    let timestamp = headers["halley-timestamp"].to_str().unwrap();
    let signature = headers["halley-signature"].to_str().unwrap();
    let signature = hex::decode(signature.strip_prefix("v1=").unwrap()).unwrap();
    let signed = [timestamp.as_bytes(), b".", body].concat();
    let key = |secret| hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key(SECRET), &signed, &signature).unwrap();
    assert!(hmac::verify(&key(b"another"), &signed, &signature).is_err());
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(
        body,
        r#"{"messages":[{"mid":7,"op":4,"seq":3,"ver":1,"body":"aGVsbG8="}]}"#
    );
}

#[tokio::test]
async fn a_failed_batch_is_sent_again_as_the_same_and_before_others() {
    let server =
        Server::start(|index, _| Reply::Answer([500, 429, 408, 200][index.min(3)], String::new()))
            .await;
    let setup = Setup::new(&server, |config| config.batch_messages_max = 2);
    setup.push(0..3);
    setup.drain.cancel();

    setup.run().await;

    let received = server.received();
    assert_eq!(
        seqs(&received),
        [vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1], vec![2]]
    );
    let ids: Vec<_> = received
        .iter()
        .map(|request| &request.headers["halley-batch"])
        .collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]));
    assert_ne!(ids[3], ids[4]);
    assert_eq!(setup.count("sent"), 3);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = answering(500).await;
    let setup = Setup::new(&server, |config| config.retries_max = 2);
    setup.push([0]);
    setup.drain.cancel();

    let outcome = setup.run().await;

    assert_eq!(server.received().len(), 3);
    assert_eq!(setup.count("dropped_failed"), 1);
    assert_eq!(
        outcome,
        DrainOutcome {
            clean: 0,
            forced: 1
        }
    );
}

#[tokio::test]
async fn what_the_receiver_refuses_is_not_sent_again() {
    for status in [301, 400, 401, 404] {
        let server = answering(status).await;
        let setup = Setup::new(&server, |_| {});
        setup.push([0]);
        setup.drain.cancel();

        setup.run().await;

        assert_eq!(server.received().len(), 1, "{status}");
        assert_eq!(setup.count("dropped_refused"), 1);
    }
}

#[tokio::test]
async fn a_silent_receiver_is_given_up_after_its_deadlines() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let setup = Setup::new(&server, |config| {
        config.timeout = Duration::from_millis(50);
        config.retries_max = 1;
    });
    setup.push([0]);
    setup.drain.cancel();

    setup.run().await;

    assert_eq!(server.received().len(), 2);
    assert_eq!(setup.count("dropped_failed"), 1);
}

#[tokio::test]
async fn a_slow_receiver_delays_nobody_and_what_does_not_fit_is_counted() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let setup = Setup::new(&server, |config| {
        config.queue_messages_max = 3;
        config.batch_messages_max = 1;
    });
    let message = |seq| Message {
        mid: 7,
        op: 4,
        seq,
        ver: 1,
        body: Bytes::new(),
    };

    let (outcome, ()) = tokio::join!(setup.run(), async {
        setup.push([0]);
        server.wait_for(1).await;
        setup.push(1..4);
        assert_eq!(setup.sink.push(message(4)), ReceiveOutcome::QueueFull);
        assert_eq!(setup.sink.depth().messages, 3);
        setup.drain.cancel();
        setup.now.cancel();
    });

    assert_eq!(
        outcome,
        DrainOutcome {
            clean: 0,
            forced: 4
        }
    );
    assert_eq!(setup.count("dropped_shutdown"), 4);
    assert_eq!(setup.sink.depth(), Depth::default());
}

#[tokio::test]
async fn while_it_drains_it_takes_no_more() {
    let server = answering(200).await;
    let setup = Setup::new(&server, |_| {});
    setup.drain.cancel();
    setup.run().await;

    let late = Message {
        mid: 7,
        op: 4,
        seq: 1,
        ver: 1,
        body: Bytes::new(),
    };
    assert_eq!(setup.sink.push(late), ReceiveOutcome::Draining);
}

#[tokio::test]
async fn without_a_sink_messages_are_ignored() {
    let sink = Sink::new(&SinkConfig::default(), None, Measured::new().metrics).unwrap();

    let message = Message {
        mid: 7,
        op: 4,
        seq: 1,
        ver: 1,
        body: Bytes::new(),
    };
    assert_eq!(sink.push(message), ReceiveOutcome::Ignored);
    let drain = CancellationToken::new();
    drain.cancel();
    assert_eq!(
        sink.run(&drain, &CancellationToken::new()).await,
        DrainOutcome::default()
    );
}
