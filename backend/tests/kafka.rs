//! What is particular to the push log in Kafka, on a real broker.

// Helpers of tests are not marked as tests.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "kafka-tls")]
#[path = "support/certificate.rs"]
mod certificate;

mod kafka {
    mod authentication;
    mod bounds;
    mod dead_letters;
    mod death;
    mod outage;
    mod rebalance;
    mod support;
    #[cfg(feature = "kafka-tls")]
    mod tls;
    mod topics;
    mod wire;
}
