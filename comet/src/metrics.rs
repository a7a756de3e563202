//! Comet's metrics as typed handles.

use std::sync::atomic::AtomicU64;

use halley_node::Registry;
use halley_proto::halley::node::HotRooms;
use halley_wire::{CloseReason, Op};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::tally::{DROP_REASONS, Tally};

/// Two labels, each with a closed set of values.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Outcome {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RoomName {
    room: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Reason {
    reason: &'static str,
}

/// What a push was addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushKind {
    /// Connections by key.
    Keys,
    /// A room's members.
    Room,
    /// Everyone.
    All,
}

/// What became of an item of a job's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemOutcome {
    /// It was pushed.
    CarriedOut,
    /// It had come before.
    Repeated,
    /// Nothing could be made of it.
    Refused,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) handshaking: Gauge,
    pub(crate) rooms: Gauge,
    pub(crate) room_bytes: Gauge,
    hot_rooms: Gauge,
    hot_room_deliveries: Family<RoomName, Gauge<f64, AtomicU64>>,
    pub(crate) broadcasts_waiting: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) streams_late: Counter,
    pub(crate) rooms_held: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) handshakes: Family<Reason, Counter>,
    pub(crate) closes: Family<Reason, Counter>,
    pub(crate) logic_calls: Family<Outcome, Counter>,
    pub(crate) logic_retries: Counter,
    pub(crate) logic_retries_refused: Counter,
    pub(crate) renewals_failed: Counter,
    pub(crate) reregistered: Counter,
    pub(crate) rooms_refused: Counter,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) logic_call_seconds: Histogram,
    pub(crate) pass_seconds: Histogram,
    pub(crate) room_delivery_seconds: Histogram,
    writes: Counter,
    frames_in: FramesIn,
    heartbeat_replies: Counter,
    other_replies: Counter,
    items: [Counter; 3],
    pushes: [Counter; 3],
    delivered: Counter,
    offline: Counter,
    dropped: [Counter; DROP_REASONS.len()],
}

#[derive(Debug)]
struct FramesIn {
    heartbeat: Counter,
    auth: Counter,
    change_room: Counter,
    subscription: Counter,
    message: Counter,
    before_auth: Counter,
}

fn latency() -> Histogram {
    // 50 µs to 26 s.
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

impl Metrics {
    /// Makes the handles and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let frames_in = Family::<Kind, Counter>::default();
        let frames_out = Family::<Kind, Counter>::default();
        let pushes = Family::<Kind, Counter>::default();
        let items = Family::<Outcome, Counter>::default();
        let outcomes = Family::<Outcome, Counter>::default();
        let kind =
            |family: &Family<Kind, Counter>, kind| family.get_or_create(&Kind { kind }).clone();
        let outcome =
            |outcome, reason| outcomes.get_or_create(&Outcome { outcome, reason }).clone();
        let metrics = Self {
            connections: Gauge::default(),
            handshaking: Gauge::default(),
            rooms: Gauge::default(),
            room_bytes: Gauge::default(),
            hot_rooms: Gauge::default(),
            hot_room_deliveries: Family::default(),
            broadcasts_waiting: Gauge::default(),
            streams: Gauge::default(),
            streams_late: Counter::default(),
            rooms_held: Gauge::default(),
            accepted: Counter::default(),
            accept_errors: Counter::default(),
            handshakes: Family::default(),
            closes: Family::default(),
            logic_calls: Family::default(),
            logic_retries: Counter::default(),
            logic_retries_refused: Counter::default(),
            renewals_failed: Counter::default(),
            reregistered: Counter::default(),
            rooms_refused: Counter::default(),
            handshake_seconds: latency(),
            logic_call_seconds: latency(),
            pass_seconds: latency(),
            room_delivery_seconds: latency(),
            writes: Counter::default(),
            frames_in: FramesIn {
                heartbeat: kind(&frames_in, "heartbeat"),
                auth: kind(&frames_in, "auth"),
                change_room: kind(&frames_in, "change_room"),
                subscription: kind(&frames_in, "subscription"),
                message: kind(&frames_in, "message"),
                before_auth: kind(&frames_in, "before_auth"),
            },
            heartbeat_replies: kind(&frames_out, "heartbeat_reply"),
            other_replies: kind(&frames_out, "reply"),
            items: ["carried_out", "repeated", "refused"].map(|outcome| {
                let outcome = Outcome {
                    outcome,
                    reason: "",
                };
                items.get_or_create(&outcome).clone()
            }),
            pushes: ["keys", "room", "all"].map(|name| kind(&pushes, name)),
            delivered: outcome("delivered", ""),
            offline: outcome("offline", ""),
            dropped: DROP_REASONS.map(|reason| outcome("dropped", reason.as_str())),
        };
        metrics.register_all(registry, [frames_in, frames_out, pushes], [items, outcomes]);
        metrics
    }

    fn register_all(
        &self,
        registry: &mut Registry,
        [frames_in, frames_out, pushes]: [Family<Kind, Counter>; 3],
        [items, outcomes]: [Family<Outcome, Counter>; 2],
    ) {
        let registry = registry.sub_registry_with_prefix("halley_comet");
        self.register_logic(registry);
        self.register_streams(registry, items);
        registry.register("connections", "Clients logged in", self.connections.clone());
        registry.register(
            "handshaking",
            "Clients not logged in yet",
            self.handshaking.clone(),
        );
        registry.register("rooms", "Rooms with members here", self.rooms.clone());
        registry.register(
            "room_bytes",
            "Bytes that rooms hold for members that have not read them, each second",
            self.room_bytes.clone(),
        );
        registry.register(
            "hot_rooms",
            "Rooms with many deliveries of late",
            self.hot_rooms.clone(),
        );
        registry.register(
            "hot_room_deliveries_per_second",
            "Deliveries per second of the hottest rooms",
            self.hot_room_deliveries.clone(),
        );
        registry.register(
            "broadcasts_waiting",
            "Broadcasts that wait for their turn",
            self.broadcasts_waiting.clone(),
        );
        registry.register("accepted", "Sockets accepted", self.accepted.clone());
        registry.register(
            "accept_errors",
            "Failed accepts; the listener goes on",
            self.accept_errors.clone(),
        );
        registry.register(
            "handshakes",
            "Handshakes by how they ended",
            self.handshakes.clone(),
        );
        registry.register(
            "closes",
            "Closed connections by reason",
            self.closes.clone(),
        );
        registry.register(
            "rooms_refused",
            "Changes of room that were not granted",
            self.rooms_refused.clone(),
        );
        registry.register(
            "handshake_seconds",
            "From accept to login",
            self.handshake_seconds.clone(),
        );
        registry.register(
            "pass_seconds",
            "Passes over a room",
            self.pass_seconds.clone(),
        );
        registry.register(
            "room_delivery_seconds",
            "From a room's first waiting message to the end of its pass",
            self.room_delivery_seconds.clone(),
        );
        registry.register("writes", "Writes to sockets", self.writes.clone());
        registry.register("frames_in", "Packets from clients by kind", frames_in);
        registry.register("frames_out", "Replies to clients by kind", frames_out);
        registry.register(
            "pushes",
            "Messages times connections they were addressed to, by kind of push",
            pushes,
        );
        registry.register(
            "push_outcomes",
            "What became of them; pushes minus these are under way",
            outcomes,
        );
    }

    fn register_logic(&self, registry: &mut Registry) {
        registry.register(
            "logic_calls",
            "Calls to logic by outcome",
            self.logic_calls.clone(),
        );
        registry.register(
            "logic_retries",
            "Calls to logic made again because it could not be reached",
            self.logic_retries.clone(),
        );
        registry.register(
            "logic_retries_refused",
            "Calls to logic not made again because too many were",
            self.logic_retries_refused.clone(),
        );
        registry.register(
            "renewals_failed",
            "Renewals of a binding that failed and are tried again",
            self.renewals_failed.clone(),
        );
        registry.register(
            "reregistered",
            "Connections to be bound again because logic lost its sessions",
            self.reregistered.clone(),
        );
        registry.register(
            "logic_call_seconds",
            "Calls to logic",
            self.logic_call_seconds.clone(),
        );
    }

    fn register_streams(&self, registry: &mut Registry, items: Family<Outcome, Counter>) {
        registry.register("streams", "Streams of jobs", self.streams.clone());
        registry.register(
            "streams_late",
            "Streams closed because their job did not keep up with the rooms",
            self.streams_late.clone(),
        );
        registry.register(
            "rooms_held",
            "Rooms that jobs are told of, each second",
            self.rooms_held.clone(),
        );
        registry.register("items", "Items of jobs' streams by outcome", items);
    }

    /// Tells how many rooms are hot, and of the hottest.
    pub(crate) fn hot_rooms(&self, count: usize, hottest: &HotRooms) {
        self.hot_rooms.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.hot_room_deliveries.clear();
        for hot in &hottest.rooms {
            let name = RoomName {
                room: hot.room.clone(),
            };
            self.hot_room_deliveries
                .get_or_create(&name)
                .set(hot.deliveries_per_second);
        }
    }

    /// Counts messages times the connections they are addressed to.
    pub(crate) fn pushed(&self, kind: PushKind, deliveries: u64) {
        self.pushes[kind as usize].inc_by(deliveries);
    }

    /// Adds what became of messages.
    pub(crate) fn count(&self, tally: &Tally) {
        let add = |counter: &Counter, value: u64| {
            if value > 0 {
                counter.inc_by(value);
            }
        };
        add(&self.delivered, tally.delivered);
        add(&self.offline, tally.offline);
        add(&self.writes, tally.writes);
        for (counter, value) in self.dropped.iter().zip(tally.dropped) {
            add(counter, value);
        }
    }

    /// Counts items of a job's stream, by [`ItemOutcome`].
    pub(crate) fn items(&self, items: [u64; 3]) {
        for (counter, count) in self.items.iter().zip(items) {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    /// Counts a packet of a logged-in client.
    pub(crate) fn frame_in(&self, op: Op) {
        let frames = &self.frames_in;
        match op {
            Op::HEARTBEAT | Op::HEARTBEAT_REPLY => frames.heartbeat.inc(),
            Op::AUTH => frames.auth.inc(),
            Op::CHANGE_ROOM => frames.change_room.inc(),
            Op::SUB | Op::UNSUB => frames.subscription.inc(),
            _ => frames.message.inc(),
        };
    }

    /// Counts a packet of a client that has not logged in.
    pub(crate) fn frame_before_auth(&self) {
        self.frames_in.before_auth.inc();
    }

    /// Counts a reply.
    pub(crate) fn reply(&self, op: Op) {
        match op {
            Op::HEARTBEAT_REPLY => self.heartbeat_replies.inc(),
            _ => self.other_replies.inc(),
        };
    }

    /// Counts a handshake's end.
    pub(crate) fn handshake(&self, outcome: &'static str) {
        self.handshakes
            .get_or_create(&Reason { reason: outcome })
            .inc();
    }

    /// Counts a close.
    pub(crate) fn closed(&self, reason: CloseReason) {
        let reason = reason.as_str();
        self.closes.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a call to logic.
    pub(crate) fn logic_call(&self, method: &'static str, outcome: &'static str) {
        let outcome = Outcome {
            outcome,
            reason: method,
        };
        self.logic_calls.get_or_create(&outcome).inc();
    }
}
