//! Contracts between Halley's nodes: goim's gRPC services, unchanged in
//! package, method and field, and Halley's own beside them.
//!
//! The generated service traits are dyn-compatible, so a role holds
//! `Arc<dyn Comet>` or `Arc<dyn Logic>` and does not know whether the service
//! lives in its own process or behind a [`remote`] forwarder.

#![forbid(unsafe_code)]

pub mod metadata;
pub mod remote;

/// goim's packages.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_debug_implementations,
    unreachable_pub
)]
pub mod goim {
    /// The client packet as it travels between nodes.
    pub mod protocol {
        tonic::include_proto!("goim.protocol");
    }
    /// The service of the nodes that hold connections.
    pub mod comet {
        tonic::include_proto!("goim.comet");
    }
    /// The service of the nodes that authenticate and route.
    pub mod logic {
        tonic::include_proto!("goim.logic");
    }
}

/// Halley's additions.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_debug_implementations,
    unreachable_pub
)]
pub mod halley {
    /// Pushes from a job to a comet over one long-lived stream.
    pub mod delivery {
        tonic::include_proto!("halley.delivery");
    }
    /// What travels beside goim's calls as metadata.
    pub mod node {
        tonic::include_proto!("halley.node");
    }
    /// The in-process push log, for jobs in other processes.
    pub mod push_log {
        tonic::include_proto!("halley.push_log");
    }
}
