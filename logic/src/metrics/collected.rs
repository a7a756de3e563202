//! What others already count and is only read when a scrape asks.

use std::fmt;
use std::sync::{Arc, Weak};

use halley_backend::push_log::PushLog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::PREFIX;
use crate::core::Core;
use crate::limit::Limits;

/// Reads the gauges of a [`Core`] at every scrape.
#[derive(Debug)]
pub(crate) struct Collected {
    /// Weak, because the core holds the registry that holds this.
    core: Weak<Core>,
    push_log: Arc<dyn PushLog>,
}

impl Collected {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::downgrade(core),
            push_log: Arc::clone(&core.push_log),
        }
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        if let Some(depth) = self.push_log.depth() {
            gauge(
                &mut encoder,
                "push_log_records",
                "Records of the push log not yet accounted for",
                count(depth.records),
            )?;
            gauge(
                &mut encoder,
                "push_log_bytes",
                "Bytes of the records not yet accounted for",
                count(depth.bytes),
            )?;
            gauge(
                &mut encoder,
                "push_log_oldest_seconds",
                "Age of the oldest such record",
                depth.oldest.as_secs_f64(),
            )?;
        }
        let Some(core) = self.core.upgrade() else {
            return Ok(());
        };
        let totals = core.nodes.totals();
        gauge(
            &mut encoder,
            "nodes",
            "Comets that take clients",
            count(core.nodes.instances().len()),
        )?;
        gauge(
            &mut encoder,
            "online_connections",
            "Connections of all comets as they last told",
            totals.connections,
        )?;
        gauge(
            &mut encoder,
            "online_ips",
            "Client addresses of all comets as they last told",
            totals.ips,
        )?;
        limits(&mut encoder, &core.limits)?;
        let queued = core.sink.depth();
        gauge(
            &mut encoder,
            "sink_queue_messages",
            "Messages from clients that wait in the sink",
            count(queued.messages),
        )?;
        gauge(
            &mut encoder,
            "sink_queue_bytes",
            "Bytes of the bodies of those messages",
            count(queued.bytes),
        )
    }
}

fn limits(encoder: &mut DescriptorEncoder, limits: &Limits) -> Result<(), fmt::Error> {
    let Limits { push, connect } = limits;
    let mut family = |name: &str, help: &str, values: [usize; 2]| {
        let name = format!("{PREFIX}_{name}");
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (entry, value) in ["push", "connect"].into_iter().zip(values) {
            let gauge = ConstGauge::new(count(value));
            gauge.encode(family.encode_family(&[("entry", entry)])?)?;
        }
        Ok(())
    };
    family(
        "limit",
        "Calls that are taken on at a time, as found by trying",
        [push.current(), connect.current()],
    )?;
    family(
        "in_flight",
        "Calls taken on that have not ended",
        [push.in_flight(), connect.in_flight()],
    )
}

fn gauge<N>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    value: N,
) -> Result<(), fmt::Error>
where
    ConstGauge<N>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    let name = format!("{PREFIX}_{name}");
    gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
