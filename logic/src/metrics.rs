//! What logic counts and measures. Handles are typed, and those of what is done
//! many times a second are kept: they are not looked up. No label is made from
//! what a client sent.

mod collected;
mod kept;

use std::fmt;
use std::time::Duration;

use halley_node::Registry;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

pub(crate) use self::collected::Collected;
use self::kept::{Closed, Kept};

/// Prefix of every metric of this crate.
pub(crate) const PREFIX: &str = "halley_logic";

/// Logic's counters and histograms.
#[derive(Debug)]
pub(crate) struct Metrics {
    connects: Family<ConnectLabels, Counter>,
    pushes: Kept<PushLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    /// Those of `requests` that were answered with 200.
    requests_done: Kept<RequestLabels, Counter>,
    request_seconds: Kept<RouteLabel, Histogram, fn() -> Histogram>,
    calls: Kept<CallLabels, Counter>,
    call_seconds: Kept<MethodLabel, Histogram, fn() -> Histogram>,
    receives: Family<ReceiveLabels, Counter>,
    sink_messages: Family<SinkLabels, Counter>,
    webhook_attempts: Family<AttemptLabels, Counter>,
    accept_errors: Family<ListenerLabel, Counter>,
}

/// Closed sets of label values.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl Closed for $name {
            const COUNT: usize = [$(Self::$variant),+].len();
        }

        impl $name {
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )+};
}

labels! {
    /// How a login ended.
    ConnectOutcome {
        Accepted = "accepted",
        /// A connection already bound showed a token that still holds.
        Refreshed = "refreshed",
        /// The client is to blame.
        Refused = "refused",
        /// The authentication service did not answer.
        Unavailable = "unavailable",
        /// The sessions failed.
        SessionsFailed = "sessions_failed",
        /// There was too much to do.
        Shed = "shed",
    }
    /// What a push addresses.
    PushKind {
        Keys = "keys",
        Mids = "mids",
        Room = "room",
        All = "all",
        /// A batch that was turned away unread.
        Batch = "batch",
    }
    /// What became of a target of a push.
    PushOutcome {
        Accepted = "accepted",
        Offline = "offline",
        Refused = "refused",
    }
    /// A route of the HTTP API.
    HttpRoute {
        PushKeys = "push_keys",
        PushMids = "push_mids",
        PushRoom = "push_room",
        PushAll = "push_all",
        PushBatch = "push_batch",
        OnlineTop = "online_top",
        OnlineRoom = "online_room",
        OnlineTotal = "online_total",
        NodesWeighted = "nodes_weighted",
        NodesInstances = "nodes_instances",
        HotRooms = "hot_rooms",
        Demo = "demo",
        Unknown = "unknown",
    }
    /// A call of the gRPC service.
    RpcMethod {
        Connect = "connect",
        Disconnect = "disconnect",
        Heartbeat = "heartbeat",
        RenewOnline = "renew_online",
        Receive = "receive",
        Nodes = "nodes",
    }
    /// How a call ended.
    RpcOutcome {
        Ok = "ok",
        Error = "error",
        /// The caller went away, or its deadline passed.
        Cancelled = "cancelled",
    }
    /// What became of a message from a client.
    ReceiveOutcome {
        /// No sink is configured.
        Ignored = "ignored",
        Queued = "queued",
        QueueFull = "queue_full",
        Draining = "draining",
    }
    /// What became of a message that the sink had queued.
    SinkOutcome {
        Sent = "sent",
        /// The receiver refused it: sending it again would not help.
        Refused = "dropped_refused",
        /// The receiver did not take it in any attempt.
        Failed = "dropped_failed",
        /// The process ended first.
        Shutdown = "dropped_shutdown",
    }
    /// A listening socket.
    Listener {
        Http = "http",
        Grpc = "grpc",
    }
    /// How a request to the authentication service ended.
    AttemptOutcome {
        Accepted = "accepted",
        Refused = "refused",
        /// It could not be reached.
        Unreachable = "unreachable",
        Timeout = "timeout",
        /// It answered with a server error.
        Failed = "failed",
        /// Its answer makes no sense.
        Invalid = "invalid",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectLabels {
    outcome: ConnectOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabels {
    kind: PushKind,
    outcome: PushOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: HttpRoute,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: HttpRoute,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: RpcMethod,
    outcome: RpcOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: RpcMethod,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiveLabels {
    outcome: ReceiveOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    outcome: SinkOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    outcome: AttemptOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: Listener,
}

impl Metrics {
    /// Creates the handles and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds = latency as fn() -> Histogram;
        let requests = Family::default();
        let metrics = Self {
            connects: Family::default(),
            pushes: Kept::new(Family::default(), PushKind::COUNT * PushOutcome::COUNT),
            requests_done: Kept::new(requests.clone(), HttpRoute::COUNT),
            requests,
            request_seconds: Kept::new(Family::new_with_constructor(seconds), HttpRoute::COUNT),
            calls: Kept::new(Family::default(), RpcMethod::COUNT * RpcOutcome::COUNT),
            call_seconds: Kept::new(Family::new_with_constructor(seconds), RpcMethod::COUNT),
            receives: Family::default(),
            sink_messages: Family::default(),
            webhook_attempts: Family::default(),
            accept_errors: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix(PREFIX);
        registry.register(
            "connects",
            "Logins by how they ended",
            metrics.connects.clone(),
        );
        registry.register(
            "pushes",
            "Targets of pushes by what became of them",
            metrics.pushes.family(),
        );
        registry.register(
            "http_requests",
            "HTTP requests by route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time from the head of an HTTP request to its answer",
            metrics.request_seconds.family(),
        );
        registry.register(
            "rpc_calls",
            "gRPC calls by how they ended",
            metrics.calls.family(),
        );
        registry.register(
            "rpc_call_seconds",
            "Time that gRPC calls took",
            metrics.call_seconds.family(),
        );
        registry.register(
            "receives",
            "Messages from clients by what became of them at the door of the sink",
            metrics.receives.clone(),
        );
        registry.register(
            "sink_messages",
            "Messages that left the sink by how",
            metrics.sink_messages.clone(),
        );
        registry.register(
            "auth_webhook_attempts",
            "Requests to the authentication service by how they ended",
            metrics.webhook_attempts.clone(),
        );
        registry.register(
            "accept_errors",
            "Connections that could not be accepted",
            metrics.accept_errors.clone(),
        );
        metrics
    }

    /// Counts a login.
    pub(crate) fn connect(&self, outcome: ConnectOutcome) {
        self.connects
            .get_or_create(&ConnectLabels { outcome })
            .inc();
    }

    /// Counts targets of a push.
    pub(crate) fn pushes(&self, kind: PushKind, outcome: PushOutcome, targets: usize) {
        let slot = kind as usize * PushOutcome::COUNT + outcome as usize;
        self.pushes
            .get(slot, || PushLabels { kind, outcome })
            .inc_by(targets as u64);
    }

    /// Counts an answered HTTP request.
    pub(crate) fn request(&self, route: HttpRoute, status: u16, took: Duration) {
        let labels = || RequestLabels { route, status };
        if status == 200 {
            self.requests_done.get(route as usize, labels).inc();
        } else {
            self.requests.get_or_create(&labels()).inc();
        }
        self.request_seconds
            .get(route as usize, || RouteLabel { route })
            .observe(took.as_secs_f64());
    }

    /// Counts an answered gRPC call.
    pub(crate) fn call(&self, method: RpcMethod, outcome: RpcOutcome, took: Duration) {
        let slot = method as usize * RpcOutcome::COUNT + outcome as usize;
        self.calls
            .get(slot, || CallLabels { method, outcome })
            .inc();
        self.call_seconds
            .get(method as usize, || MethodLabel { method })
            .observe(took.as_secs_f64());
    }

    /// Counts a message from a client.
    pub(crate) fn receive(&self, outcome: ReceiveOutcome) {
        self.receives
            .get_or_create(&ReceiveLabels { outcome })
            .inc();
    }

    /// Counts messages that left the sink.
    pub(crate) fn sink(&self, outcome: SinkOutcome, messages: usize) {
        self.sink_messages
            .get_or_create(&SinkLabels { outcome })
            .inc_by(messages as u64);
    }

    /// Counts a request to the authentication service.
    pub(crate) fn webhook_attempt(&self, outcome: AttemptOutcome) {
        self.webhook_attempts
            .get_or_create(&AttemptLabels { outcome })
            .inc();
    }

    /// Counts a connection that could not be accepted.
    pub(crate) fn accept_error(&self, listener: Listener) {
        self.accept_errors
            .get_or_create(&ListenerLabel { listener })
            .inc();
    }
}

/// Bounds from 50 µs, which a call in this process takes, to the longest deadline.
fn latency() -> Histogram {
    Histogram::new([
        0.000_05, 0.000_2, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0,
    ])
}
