//! What the push log in Kafka counts, as metrics.

use std::sync::{Arc, Weak};

use halley_backend::push_log::{KafkaPushLog, KafkaStats};
use halley_node::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KafkaMetrics(Weak<KafkaPushLog>);

impl KafkaMetrics {
    pub(crate) fn register(log: &Arc<KafkaPushLog>, registry: &mut Registry) {
        registry.register_collector(Box::new(Self(Arc::downgrade(log))));
    }
}

impl Collector for KafkaMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(log) = self.0.upgrade() else {
            return Ok(());
        };
        let stats = log.stats();
        for (name, help, count) in counters(&stats) {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        for (name, help, value) in gauges(&stats) {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

type Sample = (&'static str, &'static str, u64);

fn counters(stats: &KafkaStats) -> [Sample; 8] {
    [
        (
            "halley_kafka_published_records",
            "Records that Kafka took",
            stats.published,
        ),
        (
            "halley_kafka_unpublished_records",
            "Records that Kafka did not take, or not in time",
            stats.not_published,
        ),
        (
            "halley_kafka_read_records",
            "Records read, also those that are no pushes",
            stats.read,
        ),
        (
            "halley_kafka_redelivered_records",
            "Records delivered again because they were returned",
            stats.redelivered,
        ),
        (
            "halley_kafka_dead_letters",
            "Records put into the dead-letter topic",
            stats.dead_letters,
        ),
        (
            "halley_kafka_dead_letter_failures",
            "Attempts to put a record there that failed",
            stats.dead_letter_failures,
        ),
        (
            "halley_kafka_commit_failures",
            "Commits that failed; the next one makes up for it",
            stats.commit_failures,
        ),
        (
            "halley_kafka_rebalances",
            "Changes of the partitions that this process has",
            stats.rebalances,
        ),
    ]
}

fn gauges(stats: &KafkaStats) -> [Sample; 6] {
    [
        (
            "halley_kafka_queued_records",
            "Records on their way to Kafka",
            stats.queued_records,
        ),
        (
            "halley_kafka_queued_bytes",
            "Keys and values on their way to Kafka",
            stats.queued_bytes,
        ),
        (
            "halley_kafka_partitions",
            "Partitions that this process reads",
            stats.partitions,
        ),
        (
            "halley_kafka_in_flight_records",
            "Records read and not accounted for",
            stats.in_flight_records,
        ),
        (
            "halley_kafka_in_flight_bytes",
            "Bytes of records read and not accounted for",
            stats.in_flight_bytes,
        ),
        (
            "halley_kafka_lag_records",
            "Records of this process' partitions that are not committed",
            stats.lag_records,
        ),
    ]
}
