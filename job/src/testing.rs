//! Parts of pushes for unit tests.

use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::{Ack, AckSink, Delivery};
use halley_node::Registry;
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::record::{Part, Record, Target};

struct Nowhere;

impl AckSink for Nowhere {
    fn done(&self, _: u64) {}
    fn returned(&self, _: u64) {}
}

pub(crate) fn part(msg: PushMsg, target: Target, metrics: &Arc<Metrics>) -> Part {
    let delivery = Delivery {
        msg: Arc::new(msg),
        published: Instant::now(),
        ack: Ack::new(Arc::new(Nowhere), 0),
    };
    let record = Record::new(delivery, Duration::from_secs(30), metrics);
    Part::new(&record, target)
}

pub(crate) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}
