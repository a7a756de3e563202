//! Halley's additions to goim's calls.
//!
//! They travel as gRPC metadata, so that goim's messages stay as they are and a
//! goim peer, which sends and reads none of them, is served all the same.

use prost::Message;
use tonic::metadata::{Ascii, Binary, MetadataKey, MetadataMap, MetadataValue};

use crate::halley::node::{Grant, HotRooms, NodeStatus};

const CONNECTION: &str = "halley-connection";
const REFRESH: &str = "halley-refresh";
const GRANT: &str = "halley-grant-bin";
const NODE: &str = "halley-node-bin";
const HOT_ROOMS: &str = "halley-hot-rooms-bin";
const EPOCH: &str = "halley-epoch";

/// Names the connection that a Connect, Heartbeat or Disconnect is about by the
/// number its comet gave it.
pub fn set_connection(metadata: &mut MetadataMap, connection: u64) {
    metadata.insert(
        MetadataKey::<Ascii>::from_static(CONNECTION),
        MetadataValue::from(connection),
    );
}

/// The connection's number; `None` from peers that send none.
pub fn connection(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(CONNECTION)?.to_str().ok()?.parse().ok()
}

/// Marks a Connect that refreshes the grant of a connection already bound.
pub fn set_refresh(metadata: &mut MetadataMap) {
    metadata.insert(
        MetadataKey::<Ascii>::from_static(REFRESH),
        MetadataValue::from_static("1"),
    );
}

/// Whether a Connect only refreshes the grant of a connection already bound.
pub fn is_refresh(metadata: &MetadataMap) -> bool {
    metadata.contains_key(REFRESH)
}

/// Attaches what the client may do to the answer of a Connect.
pub fn set_grant(metadata: &mut MetadataMap, grant: &Grant) {
    set_message(metadata, GRANT, grant);
}

/// What the client may do; `None` means everything, for ever.
pub fn grant(metadata: &MetadataMap) -> Option<Grant> {
    message(metadata, GRANT)
}

/// Attaches what a comet says of itself to a `RenewOnline`.
pub fn set_node(metadata: &mut MetadataMap, node: &NodeStatus) {
    set_message(metadata, NODE, node);
}

/// What a comet says of itself; `None` from peers that say nothing.
pub fn node(metadata: &MetadataMap) -> Option<NodeStatus> {
    message(metadata, NODE)
}

/// Attaches a comet's hot rooms, if it has any, to a `RenewOnline`.
pub fn set_hot_rooms(metadata: &mut MetadataMap, rooms: &HotRooms) {
    if !rooms.rooms.is_empty() {
        set_message(metadata, HOT_ROOMS, rooms);
    }
}

/// A comet's hot rooms; none from peers that do not tell.
pub fn hot_rooms(metadata: &MetadataMap) -> HotRooms {
    message(metadata, HOT_ROOMS).unwrap_or_default()
}

/// Attaches the sessions' epoch to the answer of a `RenewOnline`.
pub fn set_epoch(metadata: &mut MetadataMap, epoch: u64) {
    metadata.insert(
        MetadataKey::<Ascii>::from_static(EPOCH),
        MetadataValue::from(epoch),
    );
}

/// The sessions' epoch: when it is another than before, the sessions have lost
/// bindings and every connection has to be bound again. `None` from peers that
/// cannot tell.
pub fn epoch(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(EPOCH)?.to_str().ok()?.parse().ok()
}

fn set_message(metadata: &mut MetadataMap, key: &'static str, message: &impl Message) {
    metadata.insert_bin(
        MetadataKey::<Binary>::from_static(key),
        MetadataValue::from_bytes(&message.encode_to_vec()),
    );
}

fn message<M: Message + Default>(metadata: &MetadataMap, key: &str) -> Option<M> {
    let bytes = metadata.get_bin(key)?.to_bytes().ok()?;
    M::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halley::node::HotRoom;

    #[test]
    fn everything_set_is_read_back() {
        let mut metadata = MetadataMap::new();
        let grant_set = Grant {
            expires_ms: 7,
            restrict_rooms: true,
            rooms: vec!["live://*".to_owned()],
            ..Grant::default()
        };
        let node_set = NodeStatus {
            hostname: "comet-1".to_owned(),
            weight: 10,
            ..NodeStatus::default()
        };

        let hot_rooms_set = HotRooms {
            rooms: vec![HotRoom {
                room: "live://1".to_owned(),
                ..HotRoom::default()
            }],
        };

        set_connection(&mut metadata, u64::MAX);
        set_refresh(&mut metadata);
        set_grant(&mut metadata, &grant_set);
        set_node(&mut metadata, &node_set);
        set_hot_rooms(&mut metadata, &hot_rooms_set);
        set_epoch(&mut metadata, 11);

        assert_eq!(epoch(&metadata), Some(11));
        assert_eq!(connection(&metadata), Some(u64::MAX));
        assert!(is_refresh(&metadata));
        assert_eq!(grant(&metadata), Some(grant_set));
        assert_eq!(node(&metadata), Some(node_set));
        assert_eq!(hot_rooms(&metadata), hot_rooms_set);
    }

    #[test]
    fn goim_peers_send_nothing() {
        let metadata = MetadataMap::new();

        assert_eq!(connection(&metadata), None);
        assert!(!is_refresh(&metadata));
        assert_eq!(grant(&metadata), None);
        assert_eq!(node(&metadata), None);
        assert_eq!(hot_rooms(&metadata), HotRooms::default());
        assert_eq!(epoch(&metadata), None);
    }
}
