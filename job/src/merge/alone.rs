//! Merging without a job around it, for benchmarks.

use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::{Ack, AckSink, Delivery};
use halley_node::Registry;
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;

use super::{Limits, calls};
use crate::Config;
use crate::metrics::{Metrics, Outcome};
use crate::record::{Part, Record, Target};

/// Puts records for rooms together.
#[expect(missing_debug_implementations, reason = "nobody looks into it")]
pub struct MergeForBenches {
    limits: Limits,
    metrics: Arc<Metrics>,
    acks: Arc<dyn AckSink>,
}

impl MergeForBenches {
    /// Merges by the limits of `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            limits: Limits::of(config),
            metrics: Arc::new(Metrics::register(&mut Registry::default())),
            acks: Arc::new(Nobody),
        }
    }

    /// Takes `messages` for rooms in from the log, makes calls of them and
    /// delivers those to nobody; returns how many they were.
    pub fn deliver(&self, messages: &[Arc<PushMsg>]) -> usize {
        let published = Instant::now();
        let parts = messages.iter().map(|msg| {
            let delivery = Delivery {
                msg: Arc::clone(msg),
                published,
                ack: Ack::new(Arc::clone(&self.acks), 0),
            };
            let record = Record::new(delivery, Duration::from_secs(30), &self.metrics);
            Part::new(&record, Target::Room)
        });
        let mut requests = 0;
        for mut call in calls(parts, self.limits) {
            requests += usize::from(call.request(1).is_some());
            call.end(Outcome::Delivered);
        }
        requests
    }
}

struct Nobody;

impl AckSink for Nobody {
    fn done(&self, _: u64) {}
    fn returned(&self, _: u64) {}
}
