//! What a job counts. Pushes taken = the sum of their outcomes + those pending.

use halley_node::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The comet took it.
    Delivered,
    /// No comet took it before its deadline.
    Expired,
    /// There is no comet.
    NoComet,
    /// The comet that it is for is not known.
    UnknownServer,
    /// No comet has a member of the room.
    NoMember,
    /// The comet drained, and its last client had gone.
    CometLeft,
    /// The comet answered that it will not take it.
    Refused,
    /// The comet's queue had no room for longer than it may keep the others
    /// waiting.
    QueueFull,
    /// The record says nothing that can be delivered.
    Malformed,
    /// Not delivered when the process had to end: the log keeps it, if it can.
    Returned,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Delivered,
        Self::Expired,
        Self::NoComet,
        Self::UnknownServer,
        Self::NoMember,
        Self::CometLeft,
        Self::Refused,
        Self::QueueFull,
        Self::Malformed,
        Self::Returned,
    ];

    fn labels(self) -> OutcomeLabels {
        let (outcome, reason) = match self {
            Self::Delivered => ("delivered", "none"),
            Self::Expired => ("expired", "deadline"),
            Self::NoComet => ("expired", "no_comet"),
            Self::UnknownServer => ("dropped", "unknown_server"),
            Self::NoMember => ("offline", "no_member"),
            Self::CometLeft => ("offline", "comet_left"),
            Self::Refused => ("dropped", "refused"),
            Self::QueueFull => ("dropped", "queue_full"),
            Self::Malformed => ("dropped", "malformed"),
            Self::Returned => ("returned", "shutdown"),
        };
        OutcomeLabels { outcome, reason }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CometLabels {
    server: String,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) records: Counter,
    pushes: Counter,
    pending: Gauge,
    outcomes: [Counter; Outcome::ALL.len()],
    queued: Family<CometLabels, Gauge>,
    in_flight: Family<CometLabels, Gauge>,
    pub(crate) streams_opened: Counter,
    pub(crate) streams_broken: Counter,
    pub(crate) comets_by_calls: Gauge,
    pub(crate) merged_messages: Histogram,
    pub(crate) delivery_seconds: Histogram,
    pub(crate) call_seconds: Histogram,
    pub(crate) calls_repeated: Counter,
    pub(crate) calls_refused: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let outcomes = Family::<OutcomeLabels, Counter>::default();
        let metrics = Self {
            records: Counter::default(),
            pushes: Counter::default(),
            pending: Gauge::default(),
            outcomes: Outcome::ALL.map(|outcome| outcomes.get_or_create_owned(&outcome.labels())),
            queued: Family::default(),
            in_flight: Family::default(),
            streams_opened: Counter::default(),
            streams_broken: Counter::default(),
            comets_by_calls: Gauge::default(),
            // 1 to 1024 messages.
            merged_messages: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            // 100 µs to 52 s.
            delivery_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 20)),
            // 10 µs to 10 s.
            call_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 21)),
            calls_repeated: Counter::default(),
            calls_refused: Counter::default(),
        };
        metrics.register_counts(registry, outcomes);
        metrics.register_calls(registry);
        metrics.register_streams(registry);
        metrics
    }

    fn register_counts(&self, registry: &mut Registry, outcomes: Family<OutcomeLabels, Counter>) {
        registry.register(
            "halley_job_records",
            "Records taken from the push log",
            self.records.clone(),
        );
        registry.register(
            "halley_job_pushes",
            "Pushes taken: a record counts for each key, or for each comet it goes to",
            self.pushes.clone(),
        );
        registry.register(
            "halley_job_pushes_pending",
            "Pushes taken whose outcome is not known yet",
            self.pending.clone(),
        );
        registry.register(
            "halley_job_push_outcomes",
            "Pushes by how they ended",
            outcomes,
        );
        registry.register(
            "halley_job_queued_parts",
            "Parts of records that wait for a comet",
            self.queued.clone(),
        );
    }

    fn register_calls(&self, registry: &mut Registry) {
        registry.register(
            "halley_job_merged_messages",
            "Messages of a call or item that was answered",
            self.merged_messages.clone(),
        );
        registry.register(
            "halley_job_delivery_seconds",
            "Time from the push log's acceptance to the comet's answer",
            self.delivery_seconds.clone(),
        );
        registry.register(
            "halley_job_call_seconds",
            "Time that a comet took to answer a call or item",
            self.call_seconds.clone(),
        );
        registry.register(
            "halley_job_calls_repeated",
            "Calls that failed and were tried again",
            self.calls_repeated.clone(),
        );
        registry.register(
            "halley_job_calls_refused",
            "Calls that the comet answered with a final error",
            self.calls_refused.clone(),
        );
    }

    fn register_streams(&self, registry: &mut Registry) {
        registry.register(
            "halley_job_in_flight_parts",
            "Parts of records on the stream to a comet, or about to be, that it has not reported",
            self.in_flight.clone(),
        );
        registry.register(
            "halley_job_streams_opened",
            "Streams to comets that were opened",
            self.streams_opened.clone(),
        );
        registry.register(
            "halley_job_streams_broken",
            "Streams to comets that broke, or were cut for want of progress",
            self.streams_broken.clone(),
        );
        registry.register(
            "halley_job_comets_by_calls",
            "Comets in other processes that do not know the stream",
            self.comets_by_calls.clone(),
        );
    }

    /// Parts that wait for one comet.
    pub(crate) fn queued(&self, server: &str) -> Gauge {
        let server = server.to_owned();
        self.queued.get_or_create_owned(&CometLabels { server })
    }

    /// Parts under way to one comet.
    pub(crate) fn in_flight(&self, server: &str) -> Gauge {
        let server = server.to_owned();
        self.in_flight.get_or_create_owned(&CometLabels { server })
    }

    /// Forgets a comet that is gone for good.
    pub(crate) fn forget(&self, server: &str) {
        let server = server.to_owned();
        let labels = CometLabels { server };
        self.queued.remove(&labels);
        self.in_flight.remove(&labels);
    }

    /// Counts pushes that will have an outcome.
    pub(crate) fn taken(&self, pushes: u32) {
        self.pushes.inc_by(u64::from(pushes));
        self.pending.inc_by(i64::from(pushes));
    }

    /// Counts the outcome of pushes that were taken.
    pub(crate) fn ended(&self, outcome: Outcome, pushes: u32) {
        self.outcomes[outcome as usize].inc_by(u64::from(pushes));
        self.pending.dec_by(i64::from(pushes));
    }

    /// Pushes that ended so.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    /// Pushes that this process accounted for.
    pub(crate) fn accounted(&self) -> u64 {
        let all: u64 = self.outcomes.iter().map(Counter::get).sum();
        all - self.count(Outcome::Returned)
    }
}
