//! goim's own messages between nodes, both ways: every `kafka_pushmsg_*` and
//! `grpc_*` vector is built here field by field, must encode to goim's bytes, and
//! must be what those bytes decode to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use bytes::Bytes;
use halley_proto::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq, RoomsReply};
use halley_proto::goim::logic::push_msg::Type;
use halley_proto::goim::logic::{
    Backoff, ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq, NodesReply, OnlineReply,
    OnlineReq, PushMsg, ReceiveReq,
};
use halley_proto::goim::protocol::Proto;
use prost::Message;
use serde_json::Value;

/// The vectors that were not checked yet.
struct Vectors(BTreeMap<String, Vec<u8>>);

impl Vectors {
    fn load() -> Self {
        let file = include_str!("../../wire/tests/goim-vectors.json");
        let file: Vec<Value> = serde_json::from_str(file).unwrap();
        let vector = |entry: &Value| {
            let name = entry["name"].as_str().unwrap().to_owned();
            (name, hex::decode(entry["hex"].as_str().unwrap()).unwrap())
        };
        Self(file.iter().map(vector).collect())
    }

    fn starting_with(prefixes: &[&str]) -> Self {
        let mut vectors = Self::load();
        vectors
            .0
            .retain(|name, _| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        assert!(!vectors.0.is_empty());
        vectors
    }

    fn check<M: Debug + Default + Message + PartialEq>(&mut self, name: &str, message: &M) {
        let bytes = self
            .0
            .remove(name)
            .unwrap_or_else(|| panic!("no vector {name}"));
        assert_eq!(
            hex::encode(message.encode_to_vec()),
            hex::encode(&bytes),
            "{name}"
        );
        assert_eq!(M::decode(&bytes[..]).unwrap(), *message, "{name}");
    }

    fn assert_all_checked(&self) {
        assert!(self.0.is_empty(), "left out: {:?}", self.0.keys());
    }
}

fn strings<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_owned).to_vec()
}

fn counts<V>(room: &str, value: V) -> HashMap<String, V> {
    [(room.to_owned(), value)].into()
}

fn raw_proto(body: &[u8]) -> Proto {
    Proto {
        ver: 1,
        op: 9,
        seq: 0,
        body: Bytes::copy_from_slice(body),
    }
}

#[test]
fn records_of_the_push_log() {
    let mut vectors = Vectors::starting_with(&["kafka_pushmsg_"]);
    let common = PushMsg {
        operation: 1000,
        msg: Bytes::from_static(b"{\"test\":1}"),
        ..PushMsg::default()
    };
    let push = PushMsg {
        server: "comet-1".to_owned(),
        keys: strings(["dev-1", "dev-2"]),
        ..common.clone()
    };
    let room = PushMsg {
        r#type: Type::Room.into(),
        room: "live://1000".to_owned(),
        ..common.clone()
    };
    let broadcast = PushMsg {
        r#type: Type::Broadcast.into(),
        speed: 32,
        ..common
    };
    assert_eq!(push.r#type(), Type::Push);
    vectors.check("kafka_pushmsg_push", &push);
    vectors.check("kafka_pushmsg_room", &room);
    vectors.check("kafka_pushmsg_broadcast", &broadcast);
    vectors.assert_all_checked();
}

#[test]
fn calls_to_comet() {
    let mut vectors = Vectors::starting_with(&["grpc_comet_"]);
    let all = Vectors::load().0;
    let single = raw_proto(&all["tcp_push_single"]);
    let push = PushMsgReq {
        keys: strings(["dev-1"]),
        proto_op: 1000,
        proto: Some(single.clone()),
    };
    let broadcast = BroadcastReq {
        proto_op: 1000,
        proto: Some(single),
        speed: 16,
    };
    let room = BroadcastRoomReq {
        room_id: "live://1000".to_owned(),
        proto: Some(raw_proto(&all["raw_body_two_messages"])),
    };
    let rooms = RoomsReply {
        rooms: counts("live://1000", true),
    };
    // In PushMsgReq protoOp is declared first but numbered last; bytes go by number.
    vectors.check("grpc_comet_PushMsgReq", &push);
    vectors.check("grpc_comet_BroadcastReq", &broadcast);
    vectors.check("grpc_comet_BroadcastRoomReq", &room);
    vectors.check("grpc_comet_RoomsReply", &rooms);
    vectors.assert_all_checked();
}

#[test]
fn calls_to_logic() {
    let mut vectors = Vectors::starting_with(&["grpc_logic_"]);
    check_connection_calls(&mut vectors);
    check_node_calls(&mut vectors);
    vectors.assert_all_checked();
}

fn check_connection_calls(vectors: &mut Vectors) {
    let auth = &Vectors::load().0["tcp_auth"][16..];
    let connect = ConnectReq {
        server: "comet-1".to_owned(),
        cookie: "sid=1".to_owned(),
        token: Bytes::copy_from_slice(auth),
    };
    let connected = ConnectReply {
        mid: 123,
        key: "dev-1".to_owned(),
        room_id: "live://1000".to_owned(),
        accepts: vec![1000, 1001, 1002],
        heartbeat: 480_000_000_000,
    };
    let disconnect = DisconnectReq {
        mid: 123,
        key: "dev-1".to_owned(),
        server: "comet-1".to_owned(),
    };
    let heartbeat = HeartbeatReq {
        mid: 123,
        key: "dev-1".to_owned(),
        server: "comet-1".to_owned(),
    };
    let receive = ReceiveReq {
        mid: 123,
        proto: Some(Proto {
            ver: 1,
            op: 4,
            seq: 7,
            body: Bytes::from_static(b"{\"test\":1}"),
        }),
    };
    vectors.check("grpc_logic_ConnectReq", &connect);
    vectors.check("grpc_logic_ConnectReply", &connected);
    vectors.check("grpc_logic_DisconnectReq", &disconnect);
    vectors.check("grpc_logic_HeartbeatReq", &heartbeat);
    vectors.check("grpc_logic_ReceiveReq", &receive);
}

fn check_node_calls(vectors: &mut Vectors) {
    let online = OnlineReq {
        server: "comet-1".to_owned(),
        room_count: counts("live://1000", 2),
    };
    let totals = OnlineReply {
        all_room_count: counts("live://1000", 5),
    };
    let nodes = NodesReply {
        domain: "conn.goim.io".to_owned(),
        tcp_port: 3101,
        ws_port: 3102,
        wss_port: 3103,
        heartbeat: 240,
        nodes: strings(["127.0.0.1"]),
        backoff: Some(Backoff {
            max_delay: 300,
            base_delay: 3,
            factor: 1.8,
            jitter: 0.3,
        }),
        heartbeat_max: 2,
    };
    vectors.check("grpc_logic_OnlineReq", &online);
    vectors.check("grpc_logic_OnlineReply", &totals);
    vectors.check("grpc_logic_NodesReply", &nodes);
}
