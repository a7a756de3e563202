use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Shared;
use crate::Registry;

const PREFIX: &str = "halley_grpc";

/// What is counted about the nodes of a service.
pub(super) struct Metrics {
    breaker_opened: Counter,
}

impl Metrics {
    pub(super) fn register(service: &'static str, registry: &mut Registry) -> Self {
        let breaker_opened = Counter::default();
        registry
            .sub_registry_with_label(("service".into(), service.into()))
            .register(
                format!("{PREFIX}_breaker_opened"),
                "Times that a node failed often enough to be left alone",
                breaker_opened.clone(),
            );
        Self { breaker_opened }
    }

    pub(super) fn opened(&self) {
        self.breaker_opened.inc();
    }
}

/// Has every scrape look at the nodes.
pub(super) fn collect(shared: &Arc<Shared>, registry: &mut Registry) {
    registry.register_collector(Box::new(Nodes(Arc::downgrade(shared))));
}

/// Weak: the nodes are of no interest when nobody can call them any more.
struct Nodes(Weak<Shared>);

impl Collector for Nodes {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        let (mut ready, mut failing, mut draining) = (0, 0, 0);
        for peer in &shared.peers.lock().list {
            let count: &mut i64 = if !peer.breaker.is_closed() {
                &mut failing
            } else if peer.is_draining() {
                &mut draining
            } else {
                &mut ready
            };
            *count += 1;
        }
        let name = format!("{PREFIX}_nodes");
        let help = "Nodes of a service by what is known of them";
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (state, count) in [
            ("ready", ready),
            ("failing", failing),
            ("draining", draining),
        ] {
            let labels = [("service", shared.service), ("state", state)];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}
