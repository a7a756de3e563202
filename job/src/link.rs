//! One comet in another process: its parts, and the task that gets them there.
//!
//! The task opens a stream to where the comet is said to be and carries the
//! parts over it; where the comet does not know the stream, it calls. When the
//! comet is somewhere else, or was started again, what is not delivered goes
//! there, in its order. Nothing that was sent expires before its stream is gone:
//! the comet may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tracing::{debug, info, warn};

use crate::Config;
use crate::comets::{Connection, Dial};
use crate::link::carry::Carrier;
use crate::link::flight::Flight;
use crate::link::stream::{OpenError, Opener, Stream};
use crate::metrics::{Metrics, Outcome};
use crate::queue::{Bounds, Inlet, Outlet, Queue, queue};
use crate::rooms::Rooms;

mod calls;
mod carry;
mod flight;
mod stream;

/// What all links have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dial: Dial,
    pub(crate) metrics: Arc<Metrics>,
    /// Comets that share a broadcast's pace.
    pub(crate) comets: Arc<AtomicUsize>,
    pub(crate) tracker: TaskTracker,
    pub(crate) now: CancellationToken,
}

/// Where a comet is, and which of its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) started_ms: i64,
}

/// A link as the one sees it who gives it parts. The link ends when this is
/// dropped, or closed, and everything is delivered.
pub(crate) struct Link {
    parts: Inlet,
    view: Arc<View>,
    target: watch::Sender<Target>,
}

/// What is known of the comet.
#[derive(Default)]
struct View {
    rooms: Rooms,
    mode: Mutex<Mode>,
    /// The registry does not expect the comet back.
    is_given_up: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// About to be reached.
    #[default]
    Connecting,
    /// The last attempt to reach it failed.
    Away,
    Streaming,
    Calling,
}

impl Link {
    pub(crate) fn start(server: &Arc<str>, target: Target, shared: &Arc<Shared>) -> Self {
        let bounds = Bounds {
            parts_max: shared.config.link_parts_max,
            bytes_max: shared.config.link_bytes_max,
        };
        let queued = shared.metrics.queued(server);
        let (inlet, outlet) = queue(Arc::clone(server), bounds, queued);
        let view = Arc::new(View::default());
        let (aim, aimed) = watch::channel(target.clone());
        let worker = Worker {
            server: Arc::clone(server),
            session: new_session(),
            flight: Flight::new(&shared.metrics, server),
            shared: Arc::clone(shared),
            parts: outlet,
            view: Arc::clone(&view),
            aim: aimed,
            target,
            failures: 0,
            has_left: false,
        };
        shared.tracker.spawn(worker.run(shared.now.clone()));
        Self {
            parts: inlet,
            view,
            target: aim,
        }
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        self.parts.queue()
    }

    /// Whether a message to the room must go to this comet.
    pub(crate) fn holds(&self, room: &str, now: Instant) -> bool {
        self.view.rooms.holds(room, now)
    }

    /// The comet is there now.
    pub(crate) fn aim(&self, target: Target) {
        self.target.send_if_modified(|current| {
            let is_other = *current != target;
            *current = target;
            is_other
        });
    }

    /// Whether the comet proves that it is there.
    pub(crate) fn is_streaming(&self) -> bool {
        *self.view.mode.lock() == Mode::Streaming
    }

    /// Whether the last attempt to reach the comet failed.
    pub(crate) fn is_away(&self) -> bool {
        *self.view.mode.lock() == Mode::Away
    }

    /// No part is going to come.
    pub(crate) fn close(&self) {
        self.parts.close();
    }

    /// The comet does not come back, as far as one can know.
    pub(crate) fn give_up(&self) {
        self.view.is_given_up.store(true, Ordering::Relaxed);
        self.close();
    }

    /// The comet is back, and parts may come again. False if the link has ended.
    pub(crate) fn reopen(&self) -> bool {
        self.view.is_given_up.store(false, Ordering::Relaxed);
        self.parts.reopen()
    }

    /// Whether the link was closed and has nothing left to do.
    pub(crate) fn has_ended(&self) -> bool {
        self.parts.queue().has_ended()
    }
}

impl View {
    fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }
}

struct Worker {
    server: Arc<str>,
    shared: Arc<Shared>,
    parts: Outlet,
    view: Arc<View>,
    aim: watch::Receiver<Target>,
    /// As of `aim`, when last looked at.
    target: Target,
    session: String,
    flight: Flight,
    /// Attempts to reach the comet since it last reported something.
    failures: u32,
    /// It ended its last stream in order, as it does when its last client has gone.
    has_left: bool,
}

/// How the comet is delivered to.
enum Way {
    Stream(Box<Stream>),
    Calls(Connection),
}

/// Why a stream is not used any further.
enum End {
    /// Nothing is left to do, ever.
    Finished,
    /// The comet is somewhere else.
    Moved,
    /// The comet has left.
    Left,
    Broken(Status),
}

impl Worker {
    async fn run(mut self, now: CancellationToken) {
        tokio::select! {
            () = self.work() => {}
            () = now.cancelled() => {}
        }
    }

    async fn work(&mut self) {
        let mut next = None;
        while !self.has_finished() {
            if self.follow() {
                next = None;
            }
            let way = match next.take() {
                Some(way) => way,
                None => match self.connect().await {
                    Some(way) => way,
                    None => continue,
                },
            };
            match way {
                Way::Stream(stream) => self.stream(*stream).await,
                Way::Calls(connection) => next = self.call(connection).await,
            }
        }
    }

    fn has_finished(&self) -> bool {
        self.flight.is_empty() && self.parts.finish()
    }

    /// Turns to where the comet is now; true if that is elsewhere.
    fn follow(&mut self) -> bool {
        let target = self.aim.borrow_and_update().clone();
        if target == self.target {
            return false;
        }
        info!(server = %self.server, from = self.target.address, to = target.address, "comet moved");
        // The session goes on: the registry may be behind, and the comet that of
        // which we speak already. Another run knows nothing of it.
        self.target = target;
        self.failures = 0;
        self.has_left = false;
        true
    }

    /// Waits as long as the failures so far ask for, then tries once.
    async fn connect(&mut self) -> Option<Way> {
        let pause = self.shared.config.reconnect.pause(self.failures);
        self.meanwhile(tokio::time::sleep(pause)).await?;
        let connection = match (self.shared.dial)(&self.target.address) {
            Ok(connection) => connection,
            Err(error) => {
                self.failed(&Status::unavailable(error.to_string()));
                return None;
            }
        };
        let opener = self.opener(connection.clone());
        match self.meanwhile(opener.open()).await? {
            Ok(stream) => Some(Way::Stream(Box::new(stream))),
            Err(OpenError::Unknown) => {
                info!(server = %self.server, "comet does not know the stream: it is called");
                Some(Way::Calls(connection))
            }
            Err(OpenError::Failed(status)) => {
                self.failed(&status);
                None
            }
        }
    }

    fn opener(&self, connection: Connection) -> Opener {
        Opener {
            connection,
            session: self.session.clone(),
            server: Arc::clone(&self.server),
            timeout: self.shared.config.call_timeout,
        }
    }

    fn failed(&mut self, status: &Status) {
        self.view.set(Mode::Away);
        let (code, message) = (status.code(), status.message());
        if self.failures == 0 {
            warn!(server = %self.server, ?code, message, "comet is away");
        } else {
            debug!(server = %self.server, ?code, message, "comet is still away");
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Waits for `future` while there is no stream: everything may expire. `None`
    /// if it is no longer worth waiting for.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        let mut flight_due = self.flight.earliest();
        loop {
            let now = Instant::now();
            self.parts.expire(now);
            if flight_due.is_some_and(|due| due <= now) {
                self.flight.expire(now);
                flight_due = self.flight.earliest();
            }
            if self.has_left && self.view.is_given_up.load(Ordering::Relaxed) {
                // Whoever it was for has gone before.
                self.flight.end(Outcome::CometLeft);
                self.parts.end(Outcome::CometLeft);
            }
            if self.has_finished() {
                return None;
            }
            let due = [flight_due, self.parts.glance().earliest];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                result = &mut future => return Some(result),
                () = self.parts.arrived() => {}
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                () = moved(&mut self.aim) => return None,
            }
        }
    }

    async fn stream(&mut self, mut stream: Stream) {
        info!(server = %self.server, incarnation = stream.hello().incarnation, "comet reached");
        self.shared.metrics.streams_opened.inc();
        self.view.set(Mode::Streaming);
        self.has_left = false;
        let mut carrier = Carrier::new(self, &stream);
        let end = carrier.run(&mut stream).await;
        let has_progressed = carrier.has_progressed();
        // Whoever deals records must not rely on the rooms of a stream that is gone.
        self.view.rooms.forget();
        self.view.set(Mode::Connecting);
        self.flight.ground();
        match end {
            End::Finished => stream.close(self.shared.config.call_timeout).await,
            End::Moved => {}
            End::Left => {
                info!(server = %self.server, "comet left");
                self.has_left = true;
                self.failures = 1;
            }
            End::Broken(status) => {
                let (code, message) = (status.code(), status.message());
                warn!(server = %self.server, ?code, message, "stream to comet broke");
                self.shared.metrics.streams_broken.inc();
                let before = if has_progressed { 0 } else { self.failures };
                self.failures = before.saturating_add(1);
            }
        }
    }
}

/// Returns when the comet is somewhere else.
async fn moved(aim: &mut watch::Receiver<Target>) {
    if aim.changed().await.is_err() {
        // Nobody is left who could learn of that.
        std::future::pending::<()>().await;
    }
}

/// A name for what is sent to one comet.
fn new_session() -> String {
    format!("{:032x}", rand::random::<u128>())
}
