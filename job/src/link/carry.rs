//! Carries parts over one stream. What is decided here does no I/O, apart from
//! the loop in [`Carrier::run`].

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use halley_proto::halley::delivery::{CometHello, Pushes, Reports};
use tokio::time::Instant;
use tonic::Status;

use super::flight::Bounds;
use super::stream::Stream;
use super::{End, Worker, moved};
use crate::Config;
use crate::merge::{self, Limits};
use crate::rooms::Lease;

/// Beats for each lease, so that one that is late does not end it.
const BEATS_PER_LEASE: u32 = 3;
/// A comet may offer a shorter lease; then it holds every room now and then.
const BEAT_INTERVAL_MIN: Duration = Duration::from_millis(50);

pub(super) struct Carrier<'a> {
    worker: &'a mut Worker,
    bounds: Bounds,
    beats: Beats,
    /// To be returned to the comet, unless 0.
    rooms_version: u64,
    /// When parts were last taken from the queue.
    passed_at: Option<Instant>,
    /// When the comet last reported an item.
    reported_at: Instant,
    has_progressed: bool,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(worker: &'a mut Worker, stream: &Stream) -> Self {
        let now = Instant::now();
        let config = &worker.shared.config;
        let beats = Beats::new(stream.hello(), config.call_timeout, now);
        if stream.hello().reports_rooms && beats.lease.is_none() {
            worker.view.rooms.lease(Lease::Stream);
        }
        worker.flight.reported(stream.done(), stream.refused(), now);
        Self {
            bounds: bounds(config, stream.hello()),
            worker,
            beats,
            rooms_version: 0,
            passed_at: None,
            reported_at: now,
            has_progressed: false,
        }
    }

    pub(super) async fn run(&mut self, stream: &mut Stream) -> End {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            let now = Instant::now();
            self.take_in(now);
            if self.worker.has_finished() {
                return End::Finished;
            }
            if self.overdue_at() <= now {
                return End::Broken(Status::deadline_exceeded("the comet does not report"));
            }
            if self.has_message(now)
                && let Ok(permit) = stream.pushes.try_reserve()
            {
                permit.send(self.message(now));
                continue;
            }
            let is_blocked = self.has_message(now);
            let held_until = self.held_until().filter(|until| now < *until);
            let wake_at = self.wake_at(held_until, is_blocked);
            if timer.is_elapsed() || wake_at < timer.deadline() {
                timer.as_mut().reset(wake_at);
            }
            let is_taking = !self.is_full() && held_until.is_none();
            tokio::select! {
                report = stream.reports.message() => match report {
                    Ok(Some(reports)) => self.report(reports, Instant::now()),
                    Ok(None) => return End::Left,
                    Err(status) => return End::Broken(status),
                },
                permit = stream.pushes.reserve(), if is_blocked => match permit {
                    Ok(permit) => permit.send(self.message(Instant::now())),
                    Err(_) => return End::Broken(Status::unavailable("the comet takes no more")),
                },
                () = self.worker.parts.arrived(), if is_taking => {}
                () = &mut timer => {}
                () = moved(&mut self.worker.aim) => return End::Moved,
            }
        }
    }

    /// Whether the comet said more than a greeting.
    pub(super) fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    /// Makes items of what waits, if they may be sent.
    fn take_in(&mut self, now: Instant) {
        let worker = &mut *self.worker;
        worker.parts.expire(now);
        if worker.flight.has_unsent() {
            worker.flight.expire(now);
        }
        if self.is_full() || self.held_until().is_some_and(|until| now < until) {
            return;
        }
        let (parts, bytes) = self.worker.flight.left(self.bounds);
        let parts = self.worker.parts.take_within(parts, bytes);
        if parts.is_empty() {
            return;
        }
        let limits = Limits::of(&self.worker.shared.config);
        self.worker.flight.add(merge::calls(parts, limits));
        self.passed_at = Some(now);
    }

    fn is_full(&self) -> bool {
        let flight = &self.worker.flight;
        flight.has_unsent() || !flight.has_room(self.bounds)
    }

    /// Until when parts wait for others to go with; `None` while the comet has
    /// nothing to report, and if more parts would not fit.
    fn held_until(&self) -> Option<Instant> {
        let worker = &self.worker;
        let is_full = worker.parts.glance().parts >= worker.flight.left(self.bounds).0;
        if worker.flight.is_empty() || is_full {
            return None;
        }
        let window = worker.shared.config.stream_window_max;
        self.passed_at.map(|passed_at| passed_at + window)
    }

    fn has_message(&self, now: Instant) -> bool {
        let flight = &self.worker.flight;
        let has_items = flight.has_unsent() && flight.has_room(self.bounds);
        has_items || self.rooms_version != 0 || self.beats.is_due(now)
    }

    fn message(&mut self, now: Instant) -> Pushes {
        let comets = self.worker.shared.comets.load(Ordering::Relaxed);
        Pushes {
            hello: None,
            items: self.worker.flight.send(self.bounds, comets, now),
            rooms_version: std::mem::take(&mut self.rooms_version),
            beat: self.beats.beat(now),
        }
    }

    fn report(&mut self, reports: Reports, now: Instant) {
        let worker = &mut *self.worker;
        self.has_progressed = true;
        if let Some(changes) = reports.rooms {
            // Taken in first: the comet relies on what it gets back.
            self.rooms_version = changes.version;
            let rooms_max = worker.shared.config.rooms_known_max;
            worker.view.rooms.apply(changes, rooms_max);
        }
        if let Some(lease) = self.beats.answered(reports.beat) {
            worker.view.rooms.lease(lease);
        }
        if worker.flight.reported(reports.done, &reports.refused, now) {
            self.reported_at = now;
        }
    }

    /// When to look again if nothing happens until then.
    fn wake_at(&self, held_until: Option<Instant>, is_blocked: bool) -> Instant {
        let worker = &self.worker;
        let beat_due = (!is_blocked).then_some(self.beats.due);
        let due = [
            held_until,
            beat_due,
            worker.parts.glance().earliest,
            worker.flight.earliest(),
        ];
        due.into_iter()
            .flatten()
            .fold(self.overdue_at(), Instant::min)
    }

    /// When the comet has been silent for too long.
    fn overdue_at(&self) -> Instant {
        let timeout = self.worker.shared.config.call_timeout;
        let item = self.worker.flight.oldest_sent_at();
        let item = item.map(|sent_at| sent_at.max(self.reported_at));
        let beat = self.beats.oldest_sent_at();
        let since = [item, beat].into_iter().flatten().min();
        // With nothing to wait for, the next beat comes first.
        since.unwrap_or(self.beats.due) + timeout
    }
}

/// The beats that prove both sides to each other, and renew the lease on what
/// is known of the comet's rooms.
struct Beats {
    interval: Duration,
    lease: Option<Duration>,
    last: u64,
    due: Instant,
    /// Number and time of those that are not answered; bounded by the time that
    /// the stream lives without an answer.
    unanswered: VecDeque<(u64, Instant)>,
}

impl Beats {
    fn new(hello: &CometHello, call_timeout: Duration, now: Instant) -> Self {
        let lease = Duration::from_millis(hello.rooms_lease_ms);
        let lease = (hello.reports_rooms && !lease.is_zero()).then_some(lease);
        let interval = lease.unwrap_or(call_timeout) / BEATS_PER_LEASE;
        Self {
            interval: interval.max(BEAT_INTERVAL_MIN),
            lease,
            last: 0,
            due: now,
            unanswered: VecDeque::new(),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// The number to send; 0 if none is due.
    fn beat(&mut self, now: Instant) -> u64 {
        if !self.is_due(now) {
            return 0;
        }
        self.due = now + self.interval;
        self.last += 1;
        self.unanswered.push_back((self.last, now));
        self.last
    }

    /// The lease that an answer gives.
    fn answered(&mut self, beat: u64) -> Option<Lease> {
        let mut sent_at = None;
        while let Some((_, at)) = self.unanswered.pop_front_if(|(number, _)| *number <= beat) {
            sent_at = Some(at);
        }
        Some(Lease::Until(sent_at? + self.lease?))
    }

    fn oldest_sent_at(&self) -> Option<Instant> {
        self.unanswered.front().map(|(_, sent_at)| *sent_at)
    }
}

fn bounds(config: &Config, hello: &CometHello) -> Bounds {
    let unless_zero = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let window = usize::try_from(hello.window_bytes).unwrap_or(usize::MAX);
    let items_max = usize::try_from(hello.items_max).unwrap_or(usize::MAX);
    Bounds {
        parts: config.in_flight_parts_max.max(1),
        bytes: config.in_flight_bytes_max.min(unless_zero(window)),
        message_items: unless_zero(items_max),
    }
}
