//! What coordinator and workers say to each other: one JSON value per line, over the worker's stdin and stdout or,
//! when one process is enough, over a pipe within it.

mod outcome;
mod plan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::StreamSummary;
use crate::latency::{Coarse, Latency};

pub(crate) use self::outcome::{
    Churned, Opened, Rooms, Settled, Slow, Stormed, Turnover, add_counts,
};
pub(crate) use self::plan::{Crowd, Day, Layout, Plan, ROOM_TYPE, Target, TransportMix, Upgrade};

/// To a worker. `Open` comes first and once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Open connections; answered by `Opened` when each is ready or has failed.
    Open(Box<Plan>),
    /// Open no further connections.
    Halt,
    /// Messages come from here on, and members do what their day asks for; answered by `Begun`.
    Begin,
    /// Drop a share of the members and have them come back; answered by `Stormed`.
    Storm(Storm),
    /// Open, log in, close, again; answered by `Churned`.
    Churn(Churn),
    /// All messages are sent: end the day, wait for stragglers and answer with `Settled`.
    Settle {
        /// What was sent, per stream that this worker's members receive.
        streams: BTreeMap<u32, StreamSummary>,
        /// How long to wait for stragglers, milliseconds.
        within_ms: u64,
    },
}

/// From a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Progress(Progress),
    Interval(Box<Interval>),
    Opened(Box<Opened>),
    Begun,
    Stormed(Box<Stormed>),
    Churned(Box<Churned>),
    Settled(Box<Settled>),
    /// The worker cannot do its job.
    Failed(String),
}

/// How members that are dropped come back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Storm {
    /// The longest pause between two tries, milliseconds.
    pub(crate) retry_ms: u64,
    /// After so long no further try is made, milliseconds.
    pub(crate) within_ms: u64,
    /// Whether to reset the connections instead of closing them.
    pub(crate) reset: bool,
}

/// Connections that log in and close again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    /// The number of the first connection.
    pub(crate) first: u32,
    /// Connections at a time.
    pub(crate) lanes: u32,
    /// Connections at a time of all workers: numbers of the connections of one lane are so far apart.
    pub(crate) stride: u32,
    /// Connections per second; as fast as it goes without.
    pub(crate) per_second: Option<f64>,
    pub(crate) duration_ms: u64,
    /// Whether to reset the connections instead of closing them.
    pub(crate) reset: bool,
}

/// How things stand, for the progress bar.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Connections that became ready.
    pub(crate) ready: u64,
    /// Connections that are ready now.
    pub(crate) open: u64,
    pub(crate) failed: u64,
    pub(crate) received: u64,
    /// Connections that logged in and closed again.
    pub(crate) churned: u64,
}

/// The times of one interval of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Its number since the epoch of the plan.
    pub(crate) index: u64,
    pub(crate) times: Times<Coarse>,
}

/// What is timed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times<T> {
    /// From when a push was due to when it was received.
    pub(crate) delivery: T,
    /// From a heartbeat to its answer.
    pub(crate) heartbeat: T,
    /// From the connect to the login's answer.
    pub(crate) handshake: T,
}

impl Times<Latency> {
    pub(crate) fn merge(&mut self, other: &Self) {
        // Most are empty most of the time, and to add one takes a walk through all of it.
        for (to, from) in [
            (&mut self.delivery, &other.delivery),
            (&mut self.heartbeat, &other.heartbeat),
            (&mut self.handshake, &other.handshake),
        ] {
            if from.count() > 0 {
                to.merge(from);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        for times in [&mut self.delivery, &mut self.heartbeat, &mut self.handshake] {
            if times.count() > 0 {
                times.clear();
            }
        }
    }

    pub(crate) fn coarse(&self) -> Times<Coarse> {
        Times {
            delivery: (&self.delivery).into(),
            heartbeat: (&self.heartbeat).into(),
            handshake: (&self.handshake).into(),
        }
    }
}

impl Times<Coarse> {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.delivery.merge(&other.delivery);
        self.heartbeat.merge(&other.heartbeat);
        self.handshake.merge(&other.handshake);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.delivery.is_empty() && self.heartbeat.is_empty() && self.handshake.is_empty()
    }
}
