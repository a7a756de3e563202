//! A node as discovery has it.

use std::collections::BTreeMap;

use halley_proto::halley::node::NodeStatus;
use serde::Deserialize;

use crate::registry::Role;

/// What the address of a gRPC service begins with.
const GRPC: &str = "grpc://";

/// A node of discovery's list. Go writes empty lists and maps as `null`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Instance {
    pub(super) region: String,
    pub(super) zone: String,
    pub(super) env: String,
    pub(super) hostname: String,
    pub(super) addrs: Option<Vec<String>>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl Instance {
    /// The node as the other parts know it.
    ///
    /// goim's logic does not use a comet that does not say whether it is
    /// offline and how many clients it has. Such a comet gets no clients, but
    /// may have some.
    pub(super) fn into_status(self, role: Role) -> NodeStatus {
        let metadata = self.metadata.unwrap_or_default();
        let number = |name| -> Option<i64> { metadata.get(name)?.parse().ok() };
        let offline = metadata.get("offline").and_then(|text| go_bool(text));
        let (conn_count, ip_count) = (number("conn_count"), number("ip_count"));
        let takes_clients = match role {
            Role::Comet => offline == Some(false) && conn_count.is_some() && ip_count.is_some(),
            Role::Logic => offline != Some(true),
        };
        let addrs = metadata.get("addrs").map_or("", String::as_str);
        NodeStatus {
            grpc: grpc(self.addrs.unwrap_or_default().iter()).unwrap_or_default(),
            hostname: self.hostname,
            region: self.region,
            zone: self.zone,
            env: self.env,
            addrs: split(addrs).map(str::to_owned).collect(),
            weight: number("weight").unwrap_or(0),
            conn_count: conn_count.unwrap_or(0),
            ip_count: ip_count.unwrap_or(0),
            draining: !takes_clients,
            started_ms: number("started_ms").unwrap_or(0),
        }
    }
}

/// A node's metadata as goim writes it, JSON in text. `started_ms` is Halley's
/// own.
pub(super) fn metadata(status: &NodeStatus) -> String {
    let metadata = BTreeMap::from([
        ("addrs", status.addrs.join(",")),
        ("conn_count", status.conn_count.to_string()),
        ("ip_count", status.ip_count.to_string()),
        ("offline", status.draining.to_string()),
        ("started_ms", status.started_ms.to_string()),
        ("weight", status.weight.to_string()),
    ]);
    serde_json::to_string(&metadata).expect("invariant: texts can be written as JSON")
}

/// The last gRPC address, which goim's job takes.
fn grpc<'a>(addrs: impl DoubleEndedIterator<Item = &'a String>) -> Option<String> {
    // goim's client joins what it registers.
    addrs
        .rev()
        .find_map(|addrs| split(addrs).rev().find(|addr| addr.starts_with(GRPC)))
        .map(str::to_owned)
}

fn split(texts: &str) -> impl DoubleEndedIterator<Item = &str> {
    texts.split(',').filter(|text| !text.is_empty())
}

/// The texts that Go reads as a truth value.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(addrs: &[&str], metadata: &[(&str, &str)]) -> Instance {
        Instance {
            hostname: "comet".to_owned(),
            addrs: Some(addrs.iter().map(|addr| (*addr).to_owned()).collect()),
            metadata: Some(
                metadata
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            ..Instance::default()
        }
    }

    #[test]
    fn a_status_survives_the_way_there_and_back() {
        let status = NodeStatus {
            hostname: "comet".to_owned(),
            addrs: vec!["1.2.3.4".to_owned(), "5.6.7.8".to_owned()],
            grpc: "grpc://10.0.0.1:3109".to_owned(),
            weight: 10,
            conn_count: 7,
            ip_count: 5,
            started_ms: 1_700_000_000_000,
            ..NodeStatus::default()
        };

        for draining in [false, true] {
            let status = NodeStatus {
                draining,
                ..status.clone()
            };
            let instance = Instance {
                hostname: status.hostname.clone(),
                addrs: Some(vec![status.grpc.clone()]),
                metadata: serde_json::from_str(&metadata(&status)).unwrap(),
                ..Instance::default()
            };
            assert_eq!(instance.into_status(Role::Comet), status);
        }
    }

    #[test]
    fn the_last_grpc_address_counts() {
        for (addrs, grpc) in [
            (
                &["grpc://a:1", "grpc://b:2", "http://c:3"][..],
                "grpc://b:2",
            ),
            (&["http://a:1,grpc://b:2"], "grpc://b:2"),
            (&["http://a:1"], ""),
        ] {
            assert_eq!(instance(addrs, &[]).into_status(Role::Comet).grpc, grpc);
        }
    }

    #[test]
    fn a_comet_that_goim_would_ignore_gets_no_clients() {
        let whole = [("offline", "false"), ("conn_count", "1"), ("ip_count", "1")];
        assert!(!instance(&[], &whole).into_status(Role::Comet).draining);
        for missing in 0..whole.len() {
            for broken in [None, Some("x"), Some("")] {
                let mut metadata = whole.to_vec();
                match broken {
                    None => drop(metadata.remove(missing)),
                    Some(text) => metadata[missing].1 = text,
                }
                assert!(
                    instance(&[], &metadata).into_status(Role::Comet).draining,
                    "{metadata:?}"
                );
            }
        }
        assert!(Instance::default().into_status(Role::Comet).draining);
    }

    #[test]
    fn a_logic_of_goim_says_no_more_than_its_weight() {
        let logic = instance(&["grpc://a:1"], &[("weight", "10")]).into_status(Role::Logic);

        assert!(!logic.draining);
        assert_eq!((logic.weight, &*logic.grpc), (10, "grpc://a:1"));
    }
}
