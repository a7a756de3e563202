use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{DRAIN_MIN, FORCED_END_MAX, run};
use crate::{DrainOutcome, Drains, Readiness, Signal, SignalSender, Signals, Stage};

const DEADLINE: Duration = Duration::from_secs(30);

/// What happened to the stages, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn push(&self, event: String) {
        self.0.lock().push(event);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// How a stage behaves when it is told to drain.
#[derive(Clone, Copy)]
enum Habit {
    /// Ends after this time.
    Drains(Duration),
    /// Ends only when told to end now.
    Hangs,
    /// Does not end at all.
    Ignores,
    /// Fails.
    Fails,
}

fn stage(events: &Events, name: &'static str, habit: Habit) -> Stage {
    let (drain, now) = (CancellationToken::new(), CancellationToken::new());
    let (events, draining, ending) = (events.clone(), drain.clone(), now.clone());
    Stage::new(name, drain, now, async move {
        draining.cancelled().await;
        events.push(format!("{name} drains"));
        let forced = match habit {
            Habit::Drains(takes) => {
                let work = tokio::time::sleep(takes);
                ending.run_until_cancelled(work).await.is_none()
            }
            Habit::Hangs => {
                ending.cancelled().await;
                true
            }
            Habit::Ignores => std::future::pending().await,
            Habit::Fails => bail!("broken"),
        };
        events.push(format!("{name} {}", if forced { "cut" } else { "ended" }));
        Ok(DrainOutcome {
            clean: u64::from(!forced),
            forced: u64::from(forced),
        })
    })
}

struct Process {
    signals: SignalSender,
    readiness: Readiness,
    drains: Drains,
    running: JoinSet<anyhow::Result<()>>,
}

impl Process {
    fn start(stages: Vec<Stage>) -> Self {
        let (sender, signals) = Signals::by_hand();
        let readiness = Readiness::default();
        let drains = Drains::default();
        let mut running = JoinSet::new();
        let (ready, asked) = (readiness.clone(), drains.clone());
        running.spawn(async move { run(stages, DEADLINE, ready, signals, &asked).await });
        Self {
            signals: sender,
            readiness,
            drains,
            running,
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.running
            .join_next()
            .await
            .expect("one task")
            .expect("no panic")
    }
}

#[tokio::test(start_paused = true)]
async fn stages_drain_one_after_another_in_order() {
    let events = Events::default();
    let second = Duration::from_secs(1);
    let process = Process::start(vec![
        stage(&events, "logic.push", Habit::Drains(second)),
        stage(&events, "job", Habit::Drains(Duration::ZERO)),
        stage(&events, "comet", Habit::Drains(second)),
    ]);
    assert!(process.readiness.is_ready());
    let readiness = process.readiness.clone();

    process.signals.send(Signal::Terminate);
    process.end().await.expect("a clean end");

    assert_eq!(
        events.take(),
        [
            "logic.push drains",
            "logic.push ended",
            "job drains",
            "job ended",
            "comet drains",
            "comet ended",
        ]
    );
    assert!(!readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_fails_early_is_the_cause_and_the_others_drain_in_order() {
    let events = Events::default();
    let (fail, failed) = oneshot::channel::<()>();
    let failing = Stage::new(
        "job",
        CancellationToken::new(),
        CancellationToken::new(),
        async move {
            let _ = failed.await;
            bail!("log is gone")
        },
    );
    let process = Process::start(vec![
        stage(&events, "logic.push", Habit::Drains(Duration::ZERO)),
        failing,
        stage(&events, "comet", Habit::Drains(Duration::ZERO)),
    ]);

    drop(fail);
    let error = process.end().await.expect_err("the cause");

    assert_eq!(format!("{error:#}"), "job failed: log is gone");
    assert_eq!(
        events.take(),
        [
            "logic.push drains",
            "logic.push ended",
            "comet drains",
            "comet ended",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_ends_early_without_an_error_is_a_failure_too() {
    let events = Events::default();
    let ending = Stage::new(
        "logic",
        CancellationToken::new(),
        CancellationToken::new(),
        async { Ok(DrainOutcome::default()) },
    );
    let process = Process::start(vec![
        ending,
        stage(&events, "comet", Habit::Drains(Duration::ZERO)),
    ]);

    let error = process.end().await.expect_err("the cause");

    assert_eq!(error.to_string(), "logic ended unexpectedly");
    assert_eq!(events.take(), ["comet drains", "comet ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_stage() {
    let events = Events::default();
    let panicking = Stage::new(
        "comet",
        CancellationToken::new(),
        CancellationToken::new(),
        async { panic!("invariant") },
    );
    let process = Process::start(vec![
        panicking,
        stage(&events, "logic", Habit::Drains(Duration::ZERO)),
    ]);

    let error = process.end().await.expect_err("the cause");

    assert!(
        format!("{error:#}").starts_with("comet failed: "),
        "{error:#}"
    );
    assert_eq!(events.take(), ["logic drains", "logic ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_draining_does_not_stop_the_drain() {
    let events = Events::default();
    let process = Process::start(vec![
        stage(&events, "job", Habit::Fails),
        stage(&events, "comet", Habit::Drains(Duration::ZERO)),
    ]);

    process.signals.send(Signal::Interrupt);
    let error = process.end().await.expect_err("the failure");

    assert_eq!(format!("{error:#}"), "job failed: broken");
    assert_eq!(events.take(), ["job drains", "comet drains", "comet ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_was_asked_for_is_answered_before_the_last_stage() {
    let events = Events::default();
    let process = Process::start(vec![
        stage(&events, "comet", Habit::Drains(Duration::from_secs(1))),
        stage(&events, "logic", Habit::Hangs),
        stage(&events, "admin", Habit::Drains(Duration::from_secs(1))),
    ]);

    // Asking twice is no second signal.
    let (one, other) = tokio::join!(process.drains.drain(), process.drains.drain());

    assert_eq!((one.clean, one.forced), (1, 1));
    assert_eq!(one, other);
    let so_far = events.take();
    assert!(so_far.contains(&"logic cut".to_owned()), "{so_far:?}");
    assert!(!so_far.contains(&"admin ended".to_owned()), "{so_far:?}");
    process.end().await.expect("a clean end");
    assert_eq!(events.take().last().expect("events"), "admin ended");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_what_hangs_and_the_rest_still_drains() {
    let events = Events::default();
    let started = tokio::time::Instant::now();
    let process = Process::start(vec![
        stage(&events, "comet", Habit::Hangs),
        stage(&events, "logic", Habit::Drains(DRAIN_MIN / 2)),
    ]);

    process.signals.send(Signal::Terminate);
    process.end().await.expect("forced is not failed");

    assert_eq!(started.elapsed(), DEADLINE + DRAIN_MIN / 2);
    assert_eq!(
        events.take(),
        ["comet drains", "comet cut", "logic drains", "logic ended"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_everything_at_once() {
    let events = Events::default();
    let started = tokio::time::Instant::now();
    let process = Process::start(vec![
        stage(&events, "comet", Habit::Hangs),
        stage(&events, "logic", Habit::Drains(Duration::from_secs(1))),
    ]);

    process.signals.send(Signal::Terminate);
    process.signals.send(Signal::Terminate);
    process.end().await.expect("asked for");

    assert_eq!(started.elapsed(), Duration::ZERO);
    let mut events = events.take();
    events.sort();
    assert_eq!(
        events,
        ["comet cut", "comet drains", "logic cut", "logic drains"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_never_ends_is_abandoned() {
    let events = Events::default();
    let started = tokio::time::Instant::now();
    let process = Process::start(vec![
        stage(&events, "comet", Habit::Ignores),
        stage(&events, "logic", Habit::Drains(Duration::ZERO)),
    ]);

    process.signals.send(Signal::Terminate);
    process.end().await.expect("an end");

    assert_eq!(started.elapsed(), DEADLINE + FORCED_END_MAX);
    assert_eq!(
        events.take(),
        ["comet drains", "logic drains", "logic ended"]
    );
}
