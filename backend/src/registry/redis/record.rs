//! An entry as it is written, JSON that people can read.

use halley_proto::halley::node::NodeStatus;
use serde::{Deserialize, Serialize};

/// The value of a field.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    /// Unix milliseconds by the clock of Redis.
    pub(super) expires_ms: u64,
    /// `None`: the node left in order.
    pub(super) node: Option<Node>,
}

/// What a node says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    region: String,
    zone: String,
    env: String,
    addrs: Vec<String>,
    grpc: String,
    weight: i64,
    conn_count: i64,
    ip_count: i64,
    draining: bool,
    started_ms: i64,
}

impl Node {
    pub(super) fn into_status(self, hostname: String) -> NodeStatus {
        NodeStatus {
            hostname,
            region: self.region,
            zone: self.zone,
            env: self.env,
            addrs: self.addrs,
            grpc: self.grpc,
            weight: self.weight,
            conn_count: self.conn_count,
            ip_count: self.ip_count,
            draining: self.draining,
            started_ms: self.started_ms,
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: texts and numbers can be written as JSON")
    }
}

impl From<&NodeStatus> for Node {
    fn from(status: &NodeStatus) -> Self {
        let NodeStatus {
            hostname: _,
            region,
            zone,
            env,
            addrs,
            grpc,
            weight,
            conn_count,
            ip_count,
            draining,
            started_ms,
        } = status.clone();
        Self {
            region,
            zone,
            env,
            addrs,
            grpc,
            weight,
            conn_count,
            ip_count,
            draining,
            started_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_version_is_read() {
        let record: Record = serde_json::from_str(
            r#"{"expires_ms":5,"node":{"grpc":"grpc://a:1","started_ms":7,"colour":"red"},"by":"x"}"#,
        )
        .unwrap();

        assert_eq!(record.expires_ms, 5);
        let status = record.node.unwrap().into_status("a".to_owned());
        assert_eq!((&*status.grpc, status.started_ms), ("grpc://a:1", 7));
    }
}
