use std::sync::atomic::{AtomicUsize, Ordering};

use halley_node::Registry;
use halley_proto::goim::logic::{
    DisconnectReply, HeartbeatReply, NodesReply, NodesReq, OnlineReply, ReceiveReply,
};
use parking_lot::Mutex;

use super::*;

/// Fails as often as it is told to, and remembers what it was asked.
#[derive(Default)]
struct Failing {
    failures: AtomicUsize,
    code: Option<Code>,
    asked: AtomicUsize,
    deadlines: Mutex<Vec<String>>,
    numbers: Mutex<Vec<Option<u64>>>,
}

impl Failing {
    fn times(failures: usize, code: Code) -> Arc<Self> {
        Arc::new(Self {
            failures: AtomicUsize::new(failures),
            code: Some(code),
            ..Self::default()
        })
    }

    fn answer<T, R: Default>(&self, request: &Request<T>) -> Result<Response<R>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let metadata = request.metadata();
        let deadline = metadata.get("grpc-timeout").expect("a deadline");
        let deadline = deadline.to_str().expect("text").to_owned();
        self.deadlines.lock().push(deadline);
        self.numbers.lock().push(metadata::connection(metadata));
        let failing = self
            .failures
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        match (failing, self.code) {
            (Ok(_), Some(code)) => Err(Status::new(code, "not now")),
            _ => Ok(Response::new(R::default())),
        }
    }
}

#[tonic::async_trait]
impl Logic for Failing {
    async fn connect(
        &self,
        request: Request<ConnectReq>,
    ) -> Result<Response<ConnectReply>, Status> {
        self.answer(&request)
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectReq>,
    ) -> Result<Response<DisconnectReply>, Status> {
        self.answer(&request)
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatReq>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        self.answer(&request)
    }

    async fn renew_online(
        &self,
        request: Request<OnlineReq>,
    ) -> Result<Response<OnlineReply>, Status> {
        self.answer(&request)
    }

    async fn receive(
        &self,
        request: Request<ReceiveReq>,
    ) -> Result<Response<ReceiveReply>, Status> {
        self.answer(&request)
    }

    async fn nodes(&self, request: Request<NodesReq>) -> Result<Response<NodesReply>, Status> {
        self.answer(&request)
    }
}

fn calls(logic: &Arc<Failing>) -> Calls {
    let config = LogicCalls {
        retries_min: 4,
        ..LogicCalls::default()
    };
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    Calls::new(
        Arc::clone(logic) as _,
        "comet-1".to_owned(),
        config,
        metrics,
    )
}

async fn connect(calls: &Calls) -> Result<Login, Status> {
    calls.connect(7, Bytes::new(), String::new(), false).await
}

fn identity() -> Identity {
    Identity {
        mid: 1,
        key: "a".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_is_asked_again_as_the_same_one_when_logic_cannot_answer_it() {
    for code in [Code::Unavailable, Code::ResourceExhausted] {
        let logic = Failing::times(2, code);
        let calls = calls(&logic);

        connect(&calls).await.expect("answered in the end");

        assert_eq!(*logic.numbers.lock(), [Some(7); 3]);
        assert_eq!(calls.metrics.logic_retries.get(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_goes_along_as_what_is_left_of_it() {
    let logic = Failing::times(1, Code::Unavailable);
    let calls = calls(&logic);

    calls.heartbeat(1, identity()).await.expect("answered");

    let left = |text: &String| -> u64 {
        let micros = text.strip_suffix('u').expect("microseconds");
        micros.parse().expect("a number")
    };
    let deadlines = logic.deadlines.lock();
    let left: Vec<_> = deadlines.iter().map(left).collect();
    assert_eq!(left[0], 3_000_000);
    assert!((2_970_000..2_990_000).contains(&left[1]), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_asked_about_again() {
    let logic = Failing::times(1, Code::Unknown);

    let refused = connect(&calls(&logic)).await;

    assert_eq!(refused.expect_err("refused").code(), Code::Unknown);
    assert_eq!(logic.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_taken_is_not_sent_again() {
    let logic = Failing::times(1, Code::Unavailable);

    calls(&logic).receive(1, Proto::default()).await;

    assert_eq!(logic.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn what_was_never_sent_may_be_sent_again() {
    let cause = tonic::ConnectError("no route".into());
    let mut status = Status::unavailable("node cannot be reached");
    status.set_source(Arc::new(cause));

    assert!(Repeat::IfUnsent.may(&status));
    assert!(!Repeat::IfUnsent.may(&Status::unavailable("draining")));
}

#[tokio::test(start_paused = true)]
async fn retries_have_a_budget() {
    let logic = Failing::times(usize::MAX, Code::Unavailable);
    let calls = calls(&logic);

    for _ in 0..200 {
        let _ = calls.heartbeat(1, identity()).await;
    }

    let retries = calls.metrics.logic_retries.get();
    assert_eq!(logic.asked.load(Ordering::Relaxed) as u64, 200 + retries);
    assert!(retries <= 4 + 20, "{retries}");
    assert!(calls.metrics.logic_retries_refused.get() > 100);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_attempts() {
    let logic = Failing::times(usize::MAX, Code::Unavailable);
    let config = LogicCalls {
        retries_min: 1000,
        ..LogicCalls::default()
    };
    let calls = Calls {
        budget: Budget::new(0, config.retries_min),
        ..calls(&logic)
    };
    let started = Instant::now();

    let failed = connect(&calls).await.expect_err("logic is away");

    assert_eq!(failed.code(), Code::Unavailable);
    assert!(started.elapsed() < config.deadline);
    assert!(logic.asked.load(Ordering::Relaxed) > 5);
}
