use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn config() -> LimitConfig {
    LimitConfig {
        min: 4,
        initial: 64,
        max: 4096,
        latency_floor: 20 * MS,
        ..LimitConfig::default()
    }
}

/// Takes the same time for each of up to `knee` calls; for more it takes ever
/// longer, so that it gets less done the more it is asked for.
struct Backend {
    base: Mutex<Duration>,
    knee: AtomicU32,
    in_flight: AtomicU32,
}

impl Backend {
    fn new(base: Duration, knee: u32) -> Self {
        Self {
            base: Mutex::new(base),
            knee: AtomicU32::new(knee),
            in_flight: AtomicU32::new(0),
        }
    }

    async fn serve(&self) {
        let calls = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let load = f64::from(calls) / f64::from(self.knee.load(Ordering::Relaxed));
        let takes = self.base.lock().mul_f64(load.max(1.0).powi(2));
        sleep(takes).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What callers saw of late.
#[derive(Default)]
struct Seen {
    answered: Vec<Duration>,
    shed: Vec<Duration>,
}

struct World {
    limit: Limit,
    backend: Backend,
    seen: Mutex<Seen>,
}

impl World {
    /// Callers that call again at once, or after a pause when turned away.
    fn start(config: &LimitConfig, backend: Backend, callers: usize) -> Arc<Self> {
        let world = Arc::new(Self {
            limit: Limit::new(config),
            backend,
            seen: Mutex::default(),
        });
        let tasks = TaskTracker::new();
        for _ in 0..callers {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                loop {
                    world.call().await;
                }
            });
        }
        world
    }

    async fn call(&self) {
        let since = Instant::now();
        if let Ok(permit) = self.limit.enter().await {
            self.backend.serve().await;
            permit.end(true);
            self.seen.lock().answered.push(since.elapsed());
        } else {
            self.seen.lock().shed.push(since.elapsed());
            sleep(50 * MS).await;
        }
    }

    /// What is seen in the time to come.
    async fn see(&self, time: Duration) -> Seen {
        *self.seen.lock() = Seen::default();
        sleep(time).await;
        std::mem::take(&mut *self.seen.lock())
    }
}

fn worst(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * 99 / 100;
    times.get(at).copied().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_collapses_is_kept_from_it_and_used_again_when_it_recovers() {
    let (base, knee, callers) = (20 * MS, 50, 200);
    let world = World::start(&config(), Backend::new(base, knee), callers);
    // Unprotected, each call would take 320 ms, and 625 a second be answered.
    sleep(Duration::from_secs(5)).await;

    let seen = world.see(Duration::from_secs(30)).await;
    let limit = world.limit.current();
    assert!((25..=100).contains(&limit), "{limit}");
    let rate = seen.answered.len() / 30;
    assert!(rate > 1000, "{rate} a second of at most 2500");
    let (answered, shed) = (worst(seen.answered), worst(seen.shed));
    assert!(answered < 150 * MS, "{answered:?}");
    assert!(shed <= 25 * MS, "{shed:?}");

    world.backend.knee.store(u32::MAX, Ordering::Relaxed);
    sleep(Duration::from_secs(5)).await;
    let seen = world.see(Duration::from_secs(5)).await;
    assert_eq!(seen.shed.len(), 0);
    assert!(worst(seen.answered) <= 2 * base);
    assert!(world.limit.current() >= callers);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_has_become_slower_by_itself_is_used_in_full_again() {
    let callers = 200;
    let world = World::start(&config(), Backend::new(20 * MS, u32::MAX), callers);
    sleep(Duration::from_secs(5)).await;
    assert!(world.limit.current() >= callers);

    *world.backend.base.lock() = 200 * MS;
    sleep(Duration::from_secs(30)).await;

    let seen = world.see(Duration::from_secs(5)).await;
    assert_eq!(seen.shed.len(), 0);
    assert!(world.limit.current() >= callers);
}

#[tokio::test(start_paused = true)]
async fn fifteen_thousand_logins_at_once_are_all_taken_on() {
    let limit = Arc::new(Limit::new(&LimitConfig::default()));
    let tasks = TaskTracker::new();
    let taken = Arc::new(AtomicUsize::new(0));
    for _ in 0..15_000 {
        let (limit, taken) = (Arc::clone(&limit), Arc::clone(&taken));
        tasks.spawn(async move {
            let permit = limit.enter().await.expect("not turned away");
            sleep(50 * MS).await;
            drop(permit);
            taken.fetch_add(1, Ordering::Relaxed);
        });
    }
    tasks.close();
    tasks.wait().await;

    assert_eq!(taken.load(Ordering::Relaxed), 15_000);
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_number_and_time() {
    let config = LimitConfig {
        min: 1,
        initial: 1,
        waiting_max: 2,
        ..LimitConfig::default()
    };
    let limit = Limit::new(&config);
    let held = limit.enter().await.unwrap();
    let since = Instant::now();

    let (one, other, third) = tokio::join!(limit.enter(), limit.enter(), async {
        let third = limit.enter().await.map(drop);
        (third, since.elapsed())
    });

    let shed = Shed {
        retry_after: config.retry_after,
    };
    assert_eq!(third, (Err(shed), Duration::ZERO), "at once");
    assert_eq!((one.err(), other.err()), (Some(shed), Some(shed)));
    assert_eq!(since.elapsed(), config.wait_max);
    drop(held);
    limit.enter().await.expect("room again");
}

#[tokio::test(start_paused = true)]
async fn calls_that_say_nothing_are_not_measured() {
    let limit = Limit::new(&config());
    let calls = async |takes: Duration, counts: bool| {
        for _ in 0..100 {
            let permit = limit.enter().await.unwrap();
            sleep(takes).await;
            permit.end(counts);
        }
        limit.current()
    };

    assert_eq!(calls(100 * MS, false).await, config().initial);
    assert_eq!(calls(MS, true).await, config().initial, "room is not used");
    assert_eq!(calls(100 * MS, true).await, config().min);
}

#[test]
fn what_calls_of_before_took_is_not_how_slow_the_backend_is() {
    let config = config();
    let mut controller = Controller::new(config.clone());
    let mut windows = |count: u32, mean: Duration, peak: usize| {
        let mut limit = 0;
        for _ in 0..count {
            limit = controller.adjust(mean, peak);
        }
        limit
    };
    windows(100, MS, 64);
    // All that was taken on waits for a backend that has nearly stopped.
    assert_eq!(windows(20, 1000 * MS, 1800), config.min);
    assert_eq!(windows(20, 2000 * MS, 1000), config.min, "still waiting");

    let settled = windows(10, 100 * MS, config.min);
    assert!(settled > config.min, "as slow as it is by itself");
    assert_eq!(windows(20, 1000 * MS, settled), config.min);
}
