//! Contracts between Halley's nodes.
pub mod goim {
    pub mod protocol { tonic::include_proto!("goim.protocol"); }
    pub mod comet { tonic::include_proto!("goim.comet"); }
    pub mod logic { tonic::include_proto!("goim.logic"); }
}
pub mod halley {
    pub mod node { tonic::include_proto!("halley.node"); }
    pub mod push_log { tonic::include_proto!("halley.push_log"); }
}
