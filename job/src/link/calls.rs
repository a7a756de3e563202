//! A comet that does not know the stream, such as goim's: it is called, and
//! asked for the stream again from time to time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_proto::remote::RemoteComet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::stream::{OpenError, Opener, Stream};
use super::{Mode, Shared, Way, Worker, moved};
use crate::comets::Connection;
use crate::deliver::Courier;
use crate::lane::Lanes;
use crate::merge::{self, Limits};
use crate::metrics::Outcome;
use crate::queue::{Bounds, Queue, Refused};
use crate::record::Part;

/// Parts that are dealt to the lanes before anything else is looked at.
const PASS_PARTS: usize = 256;

impl Worker {
    /// Delivers by calls until the comet moves, or knows the stream, which is
    /// then returned, or nothing is left to do.
    pub(super) async fn call(&mut self, connection: Connection) -> Option<Way> {
        let _counted = Counted::new(&self.shared.metrics.comets_by_calls);
        self.view.set(Mode::Calling);
        let failing = Arc::new(Notify::new());
        let lanes = self.start_lanes(connection.clone(), &failing);
        let mut dealer = Dealer {
            parts: self.flight.take(),
            divided: VecDeque::new(),
        };

        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let opener = self.opener(connection);
        let asking = ask(&opener, config.stream_retry, config.reconnect, &failing);
        tokio::pin!(asking);
        let (patience, stream) = loop {
            let has_dealt = dealer.deal(&lanes, &shared);
            if has_dealt {
                dealer.parts = self.parts.take(PASS_PARTS);
                if !dealer.parts.is_empty() {
                    continue;
                }
                if self.parts.is_finished() {
                    // Nothing is younger than that.
                    break (config.push_deadline, None);
                }
            }
            tokio::select! {
                () = self.parts.arrived(), if has_dealt => {}
                () = dealer.room(), if !has_dealt => {}
                stream = &mut asking => break (config.call_timeout, Some(stream)),
                () = moved(&mut self.aim) => break (Duration::ZERO, None),
            }
        };
        let mut rest = self.end(lanes, patience, stream.is_none()).await;
        rest.extend(dealer.rest());
        self.view.set(Mode::Connecting);
        self.failures = 0;
        self.flight.add(merge::calls(rest, Limits::of(config)));
        stream.map(|stream| Way::Stream(Box::new(stream)))
    }

    /// Ends the lanes. What they have not delivered is given up on earlier if the
    /// comet moves, or, where none was expected, if more comes for it.
    async fn end(&mut self, lanes: Lanes, patience: Duration, is_last: bool) -> VecDeque<Part> {
        let stop = lanes.stopper();
        let ending = lanes.end(patience);
        tokio::pin!(ending);
        loop {
            tokio::select! {
                rest = &mut ending => return rest,
                () = moved(&mut self.aim) => stop.cancel(),
                () = self.parts.arrived(), if is_last => {
                    if !self.parts.is_finished() {
                        stop.cancel();
                    }
                }
            }
        }
    }

    fn start_lanes(&self, connection: Connection, failing: &Arc<Notify>) -> Lanes {
        let shared = &self.shared;
        let courier = Courier {
            server: Arc::clone(&self.server),
            comet: Arc::new(RemoteComet::new(connection)),
            comets: Arc::clone(&shared.comets),
            call_timeout: shared.config.call_timeout,
            retry: shared.config.retry,
            metrics: Arc::clone(&shared.metrics),
            failing: Arc::clone(failing),
        };
        let config = &shared.config;
        // Together what a stream may have under way: half of it waits, and half is
        // in calls.
        let share = 2 * Lanes::count(config);
        let bounds = Bounds {
            parts_max: config.in_flight_parts_max / share,
            bytes_max: config.in_flight_bytes_max / share,
        };
        Lanes::start(
            &courier,
            bounds,
            config.goim_keys_per_call_max,
            config,
            &shared.tracker,
            &shared.now,
        )
    }
}

/// Parts on their way into the lanes, in their order.
struct Dealer {
    parts: VecDeque<Part>,
    /// What was before them, by lane.
    divided: VecDeque<(Arc<Queue>, Part)>,
}

impl Dealer {
    /// Deals until a lane has no room; true if that was everything. Only this
    /// comet waits for it: nothing is dropped before its deadline.
    fn deal(&mut self, lanes: &Lanes, shared: &Shared) -> bool {
        loop {
            while let Some((queue, part)) = self.divided.pop_front() {
                match queue.offer(part) {
                    Ok(()) => {}
                    // A lane ends before us only if it has panicked.
                    Err(Refused::Ended) => shared.now.cancel(),
                    Err(Refused::Full(part)) if part.record.deadline <= Instant::now() => {
                        part.end(Outcome::Expired);
                    }
                    Err(Refused::Full(part)) => {
                        self.divided.push_front((queue, part));
                        return false;
                    }
                }
            }
            let Some(part) = self.parts.pop_front() else {
                return true;
            };
            lanes.deal(part, |queue, part| {
                self.divided.push_back((Arc::clone(queue), part));
            });
        }
    }

    /// Waits until the lane of the first part may have room, or the part is due.
    async fn room(&self) {
        if let Some((queue, part)) = self.divided.front() {
            queue.has_freed(part.record.deadline).await;
        }
    }

    /// What was not dealt.
    fn rest(self) -> impl Iterator<Item = Part> {
        let divided = self.divided.into_iter().map(|(_, part)| part);
        divided.chain(self.parts)
    }
}

/// Returns when the comet knows the stream. It is asked at intervals, and
/// whenever calls fail, as they do while it is replaced.
async fn ask(opener: &Opener, interval: Duration, pauses: Backoff, failing: &Notify) -> Stream {
    let mut failures = 1;
    loop {
        let is_failing = tokio::time::timeout(interval, failing.notified()).await;
        if is_failing.is_ok() {
            tokio::time::sleep(pauses.pause(failures)).await;
        }
        failures = match opener.open().await {
            Ok(stream) => return stream,
            Err(OpenError::Unknown) => 1,
            Err(OpenError::Failed(_)) => failures.saturating_add(1),
        };
    }
}

/// Counts as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
