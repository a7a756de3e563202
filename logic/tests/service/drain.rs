//! The end of a node: pushes first, the rest last, nothing lost between.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use halley_backend::push_log::{PushLog, RemoteConfig, RemotePeer, RemotePushLog};
use halley_logic::config::SinkMode;
use halley_node::DrainOutcome;
use halley_proto::goim::logic::ReceiveReq;
use halley_proto::goim::protocol::Proto;
use parking_lot::Mutex;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;

use crate::harness::{Mood, Node, PATIENCE};

const PUSH: &str = "POST /goim/push/all?operation=9 HTTP/1.1\r\nHost: x\r\n\
                    Connection: close\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test]
async fn pushes_are_refused_first_and_the_rest_works_on() {
    let node = Node::start(|_| {});
    assert!(node.http(PUSH).await.starts_with("HTTP/1.1 200"));

    node.push.drain.cancel();
    let refused = async {
        loop {
            let answer = node.http(PUSH).await;
            if answer.starts_with("HTTP/1.1 503") {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENCE, refused).await.expect("a refusal");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    assert!(!node.readiness.is_ready());
    assert!(node.get("/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(node.get("/metrics").await.starts_with("HTTP/1.1 200"));
    let mut client = node.client().await;
    client.connect("comet-1", None, "{}").await.unwrap();

    node.push.end().await;
    assert_eq!(node.rest.drain().await.forced, 0);
}

#[tokio::test]
async fn a_node_that_drains_says_so_to_the_comets() {
    let mut node = Node::start(|config| config.server = "logic-1".to_owned());
    let status = node.status.borrow().clone();
    assert_eq!(status.hostname, "logic-1");
    assert_eq!(status.grpc, format!("grpc://{}", node.addresses.grpc));
    assert!(!status.draining);

    node.push.drain.cancel();

    let draining = node.status.wait_for(|status| status.draining);
    timeout(PATIENCE, draining).await.expect("word").unwrap();
}

#[tokio::test]
async fn nobody_listens_in_the_end() {
    let node = Node::start(|_| {});
    // An idle connection of each kind, which must not hold up the end.
    let _idle = TcpStream::connect(node.addresses.http).await.unwrap();
    let mut client = node.client().await;
    client.connect("comet-1", None, "{}").await.unwrap();
    let addresses = node.addresses;

    node.push.drain().await;
    node.rest.drain().await;

    for address in [addresses.http, addresses.grpc] {
        assert!(TcpStream::connect(address).await.is_err(), "{address}");
    }
}

#[tokio::test]
async fn a_push_under_way_is_finished() {
    let node = Node::start(|_| {});
    let mut stream = TcpStream::connect(node.addresses.http).await.unwrap();
    stream
        .write_all(
            b"POST /goim/push/all?operation=9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
              Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .await
        .unwrap();
    // The node waits for the body, so that it has taken the push.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.unwrap();
    node.push.drain.cancel();
    while node.readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"hi").await.unwrap();

    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer")
        .unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        node.push.end().await,
        DrainOutcome {
            clean: 1,
            forced: 0
        }
    );
}

#[tokio::test]
async fn a_push_is_seen_through_when_its_client_says_no_more() {
    let node = Node::start(|_| {});
    *node.sessions.mood.lock() = Mood::Hang;
    let mut stream = TcpStream::connect(node.addresses.http).await.unwrap();
    stream
        .write_all(
            b"POST /goim/push/keys?operation=9&keys=a HTTP/1.1\r\nHost: x\r\n\
              Content-Length: 2\r\n\r\nhi",
        )
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let hanging = timeout(PATIENCE, node.sessions.hanging.acquire()).await;
    hanging.expect("the push hangs").unwrap().forget();

    node.sessions.released.notify_one();

    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let offline = r#"halley_logic_pushes_total{kind="keys",outcome="offline"}"#;
    assert_eq!(node.metric(offline), 1);
}

#[tokio::test]
async fn what_hangs_is_cut_off_when_time_is_up() {
    let node = Node::start(|_| {});
    *node.sessions.mood.lock() = Mood::Hang;
    let mut stream = TcpStream::connect(node.addresses.http).await.unwrap();
    stream
        .write_all(
            b"POST /goim/push/keys?operation=9&keys=a HTTP/1.1\r\nHost: x\r\n\
              Content-Length: 0\r\n\r\n",
        )
        .await
        .unwrap();
    let mut client = node.client().await;
    let login =
        TaskTracker::new().spawn(async move { client.connect("comet-1", None, "{}").await });
    let both = node.sessions.hanging.acquire_many(2);
    timeout(PATIENCE, both)
        .await
        .expect("both hang")
        .unwrap()
        .forget();

    for part in [&node.push, &node.rest] {
        part.drain.cancel();
        part.now.cancel();
    }

    assert_eq!(node.push.end().await.forced, 1);
    assert!(node.rest.end().await.forced >= 1);
    let login = timeout(PATIENCE, login).await.expect("an end");
    assert!(login.unwrap().is_err());
}

#[tokio::test]
async fn what_was_accepted_is_held_for_jobs_of_other_processes() {
    let node = Node::start_with_jobs_elsewhere();
    assert!(node.http(PUSH).await.starts_with("HTTP/1.1 200"));
    node.push.drain().await;
    node.rest.drain.cancel();

    // A job that was away comes only now.
    let peer = RemotePeer {
        name: "logic-1".to_owned(),
        transport: Endpoint::try_from(format!("http://{}", node.addresses.grpc))
            .unwrap()
            .connect_lazy(),
    };
    let log = RemotePushLog::new(vec![peer], RemoteConfig::default());
    let mut subscription = log.subscribe().await.unwrap();
    let delivery = timeout(PATIENCE, subscription.next())
        .await
        .expect("a record")
        .unwrap();
    assert_eq!(delivery.msg.msg, "hi");
    delivery.ack.done();

    let acknowledging = timeout(PATIENCE, subscription.next());
    tokio::select! {
        outcome = node.rest.end() => assert_eq!(outcome.forced, 0),
        more = acknowledging => panic!("{more:?}"),
    }
}

#[tokio::test]
async fn the_sink_is_emptied_last() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = {
        let received = Arc::clone(&received);
        Router::new().route(
            "/",
            post(|body: String| async move { received.lock().push(body) }),
        )
    };
    TaskTracker::new().spawn(std::future::IntoFuture::into_future(axum::serve(
        listener, router,
    )));
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret").unwrap();
    let node = Node::start(|config| {
        config.sink.mode = SinkMode::Webhook;
        config.sink.webhook.url = url;
        config.sink.webhook.secret_file = Some(secret.path().to_owned());
        // Only the drain makes it send.
        config.sink.webhook.linger = PATIENCE * 100;
    });
    let message = ReceiveReq {
        mid: 7,
        proto: Some(Proto {
            op: 4,
            seq: 3,
            ver: 1,
            body: "hi".into(),
        }),
    };
    node.client().await.0.receive(message).await.unwrap();

    node.push.drain().await;
    let outcome = node.rest.drain().await;

    assert!(outcome.clean >= 1);
    assert_eq!(
        *received.lock(),
        [r#"{"messages":[{"mid":7,"op":4,"seq":3,"ver":1,"body":"aGk="}]}"#]
    );
}
