//! What the node says of itself.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use halley_proto::halley::node::NodeStatus;

use crate::config::Config;

/// The node as it starts; `grpc` is its listener.
pub(crate) fn of(config: &Config, grpc: SocketAddr) -> NodeStatus {
    let hostname = match config.server.as_str() {
        "" => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        server => server.to_owned(),
    };
    let grpc = match config.rpc.advertise.as_str() {
        "" => format!("grpc://{grpc}"),
        advertised => format!("grpc://{advertised}"),
    };
    NodeStatus {
        hostname,
        region: config.region.clone(),
        zone: config.zone.clone(),
        env: config.env.clone(),
        grpc,
        weight: config.weight,
        started_ms: unix_ms(),
        ..NodeStatus::default()
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_name_and_an_address() {
        let listener = "127.0.0.1:3119".parse().unwrap();
        let mut config = Config::default();
        let status = of(&config, listener);
        assert!(!status.hostname.is_empty());
        assert_eq!(status.grpc, "grpc://127.0.0.1:3119");
        assert!(status.started_ms > 1_700_000_000_000);

        config.server = "logic-1".to_owned();
        config.rpc.advertise = "logic-1.internal:3119".to_owned();
        let status = of(&config, listener);
        assert_eq!(status.hostname, "logic-1");
        assert_eq!(status.grpc, "grpc://logic-1.internal:3119");
    }
}
