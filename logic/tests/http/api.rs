//! goim's HTTP API, answered byte for byte.
//!
//! Every request goes through a real loopback listener, and status, content
//! type and body are compared as they came.

use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::logic::push_msg::Type;
use halley_proto::halley::node::{HotRoom, NodeStatus};

use crate::harness::{Harness, LogMood};

const JSON: Option<&str> = Some("application/json; charset=utf-8");
const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
const PLAIN: Option<&str> = Some("text/plain");
const OK: &str = r#"{"code":0,"message":""}"#;

macro_rules! required {
    ($($name:literal),+) => {
        concat!("{\"code\":-400,\"message\":\"", required!(@lines $($name),+), "\"}")
    };
    (@lines $name:literal) => {
        concat!("Key: '", $name, "' Error:Field validation for '", $name, "' failed on the 'required' tag")
    };
    (@lines $name:literal, $($rest:literal),+) => {
        concat!(required!(@lines $name), "\\n", required!(@lines $($rest),+))
    };
}

macro_rules! unparsed {
    ($number:literal, $why:literal) => {
        concat!(
            "{\"code\":-400,\"message\":\"strconv.ParseInt: parsing \\\"",
            $number,
            "\\\": ",
            $why,
            "\"}"
        )
    };
}

/// Method and target; status, content type and body of the answer.
type Case = (
    &'static str,
    &'static str,
    u16,
    Option<&'static str>,
    &'static str,
);

#[rustfmt::skip]
const PUSHES: &[Case] = &[
    ("POST", "/goim/push/keys?operation=1000&keys=a&keys=b", 200, JSON, OK),
    ("POST", "/goim/push/keys?keys=a", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=&keys=a", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=1000&keys=unknown", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=1000&keys=", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=1000&keys=%ff", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=1000", 200, JSON, r#"{"code":-400,"message":""}"#),
    ("POST", "/goim/push/keys?operation=abc&keys=a", 400, TEXT, unparsed!("abc", "invalid syntax")),
    ("POST", "/goim/push/keys?operation=99999999999&keys=a", 400, TEXT, unparsed!("99999999999", "value out of range")),
    ("POST", "/goim/push/keys?operation=%3Cb%3E&keys=a", 400, TEXT, unparsed!("\\u003cb\\u003e", "invalid syntax")),
    ("POST", "/goim/push/keys?operation=+1&keys=a", 400, TEXT, unparsed!(" 1", "invalid syntax")),
    ("POST", "/goim/push/keys?operation=%2B1&keys=a", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=1&operation=x&keys=a", 200, JSON, OK),
    ("POST", "/goim/push/keys?operation=%zz&operation=x&keys=a", 400, TEXT, unparsed!("x", "invalid syntax")),
    ("POST", "/goim/push/mids?operation=1000&mids=1&mids=2", 200, JSON, OK),
    ("POST", "/goim/push/mids?operation=1000&mids=", 200, JSON, OK),
    ("POST", "/goim/push/mids?operation=1000", 200, JSON, OK),
    ("POST", "/goim/push/mids", 200, JSON, OK),
    ("POST", "/goim/push/mids?mids=1,2", 400, TEXT, unparsed!("1,2", "invalid syntax")),
    ("POST", "/goim/push/mids?mids=1&mids=9223372036854775808", 400, TEXT, unparsed!("9223372036854775808", "value out of range")),
    ("POST", "/goim/push/mids?mids=x&operation=y", 400, TEXT, unparsed!("y", "invalid syntax")),
    ("POST", "/goim/push/room?operation=1000&type=live&room=1000", 200, JSON, OK),
    ("POST", "/goim/push/room", 400, TEXT, required!("Op", "Type", "Room")),
    ("POST", "/goim/push/room?operation=0&type=live&room=1", 400, TEXT, required!("Op")),
    ("POST", "/goim/push/room?operation=1&type=&room=", 400, TEXT, required!("Type", "Room")),
    ("POST", "/goim/push/room?operation=x&type=&room=", 400, TEXT, unparsed!("x", "invalid syntax")),
    ("POST", "/goim/push/room?operation=1&type=live&room=%ff", 200, JSON, r#"{"code":-500,"message":"string field contains invalid UTF-8"}"#),
    ("POST", "/goim/push/all?operation=1000", 200, JSON, OK),
    ("POST", "/goim/push/all?operation=1000&speed=100", 200, JSON, OK),
    ("POST", "/goim/push/all?operation=1000&speed=1.5", 400, TEXT, unparsed!("1.5", "invalid syntax")),
    ("POST", "/goim/push/all?speed=5", 400, TEXT, required!("Op")),
];

#[rustfmt::skip]
const READS: &[Case] = &[
    ("GET", "/goim/online/top?type=live&limit=2", 200, JSON, r#"{"code":0,"message":"","data":[{"room_id":"9","count":7},{"room_id":"a/b","count":3}]}"#),
    ("GET", "/goim/online/top?type=live&limit=100", 200, JSON, r#"{"code":0,"message":"","data":[{"room_id":"9","count":7},{"room_id":"a/b","count":3},{"room_id":"b\u003c","count":3}]}"#),
    ("GET", "/goim/online/top?type=liv&limit=2", 200, JSON, r#"{"code":0,"message":"","data":[]}"#),
    ("GET", "/goim/online/top?type=live&limit=-1", 400, TEXT, r#"{"code":-400,"message":"limit is negative"}"#),
    ("GET", "/goim/online/top?type=live&limit=0", 400, TEXT, required!("Limit")),
    ("GET", "/goim/online/top", 400, TEXT, required!("Type", "Limit")),
    ("GET", "/goim/online/top?limit=x", 400, TEXT, unparsed!("x", "invalid syntax")),
    ("GET", "/goim/online/room?type=live&rooms=9&rooms=10&rooms=b%3C", 200, JSON, r#"{"code":0,"message":"","data":{"10":0,"9":7,"b\u003c":3}}"#),
    ("GET", "/goim/online/room?type=live&rooms=9,10", 200, JSON, r#"{"code":0,"message":"","data":{"9,10":0}}"#),
    ("GET", "/goim/online/room?type=live&rooms=", 200, JSON, r#"{"code":0,"message":"","data":{"":0}}"#),
    ("GET", "/goim/online/room", 400, TEXT, required!("Type", "Rooms")),
    ("GET", "/goim/online/room?type=live", 400, TEXT, required!("Rooms")),
    ("GET", "/goim/online/total", 200, JSON, r#"{"code":0,"message":"","data":{"conn_count":5,"ip_count":4}}"#),
    ("GET", "/goim/nodes/weighted", 200, JSON, r#"{"code":0,"message":"","data":{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"wss_port":3103,"heartbeat":240,"nodes":["1.2.3.4","1.2.3.5"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#),
    ("GET", "/goim/nodes/weighted?platform=web", 200, JSON, r#"{"code":0,"message":"","data":{"domain":"conn.goim.io","tcp_port":3101,"ws_port":3102,"wss_port":3103,"heartbeat":240,"nodes":["comet-1.goim.io"],"backoff":{"max_delay":300,"base_delay":3,"factor":1.8,"jitter":0.3},"heartbeat_max":2}}"#),
];

#[rustfmt::skip]
const ELSEWHERE: &[Case] = &[
    ("GET", "/goim/push/keys?keys=a", 404, PLAIN, "404 page not found"),
    ("PUT", "/goim/push/all?operation=1", 404, PLAIN, "404 page not found"),
    ("OPTIONS", "/goim/push/all?operation=1", 404, PLAIN, "404 page not found"),
    ("POST", "/goim/online/total", 404, PLAIN, "404 page not found"),
    ("HEAD", "/goim/online/total", 404, PLAIN, ""),
    ("GET", "/", 404, PLAIN, "404 page not found"),
    ("GET", "/goim", 404, PLAIN, "404 page not found"),
    ("GET", "/goim/online/total/x", 404, PLAIN, "404 page not found"),
    ("POST", "/1/push", 404, PLAIN, "404 page not found"),
    ("POST", "/goim/push/mids=1?operation=1", 404, PLAIN, "404 page not found"),
    ("GET", "/goim/online/total/", 301, None, ""),
    ("POST", "/goim/push/all/?operation=1", 307, None, ""),
    ("GET", "/healthz", 200, TEXT, "ok"),
];

async fn check(harness: &Harness, cases: &[Case]) {
    for (method, target, status, content_type, body) in cases {
        let answer = harness.send(method, target, b"hello").await;

        assert_eq!(answer.status, *status, "{method} {target}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            *content_type,
            "{method} {target}"
        );
        assert_eq!(answer.body, *body, "{method} {target}");
    }
}

fn comet() -> NodeStatus {
    NodeStatus {
        hostname: "comet-1".to_owned(),
        region: "sh".to_owned(),
        zone: "sh001".to_owned(),
        env: "dev".to_owned(),
        addrs: vec!["1.2.3.4".to_owned(), "1.2.3.5".to_owned()],
        grpc: "grpc://10.0.0.1:3109".to_owned(),
        weight: 10,
        conn_count: 5,
        ip_count: 4,
        draining: false,
        started_ms: 0,
    }
}

fn start() -> Harness {
    Harness::start(|config| {
        config.nodes.default_domain = "conn.goim.io".into();
        config.nodes.host_domain = ".goim.io".into();
    })
}

#[tokio::test]
async fn pushes_are_answered_as_by_goim() {
    let harness = start();
    harness.bind(1, "a", "comet-1").await;

    check(&harness, PUSHES).await;
}

#[tokio::test]
async fn questions_are_answered_as_by_goim() {
    let harness = start();
    let rooms = [
        ("live://9", 7),
        ("live://a/b", 3),
        ("live://b<", 3),
        ("livex://1", 50),
    ];
    harness.renew(&comet(), &rooms).await;

    check(&harness, READS).await;
}

#[tokio::test]
async fn hot_rooms_are_those_of_all_comets() {
    let harness = start();
    let room = |room: &str, members, deliveries_per_second| HotRoom {
        room: room.to_owned(),
        members,
        messages_per_second: 12.5,
        deliveries_per_second,
    };
    harness
        .heat(
            "comet-1",
            &[
                room("live://1", 800, 10_000.0),
                room("live://2", 900, 11_250.0),
            ],
        )
        .await;
    harness
        .heat("comet-2", &[room("live://1", 400, 5_000.0)])
        .await;

    let first = r#"{"room":"live://1","count":1200,"messages_per_second":12.5,"deliveries_per_second":15000.0}"#;
    let second = r#"{"room":"live://2","count":900,"messages_per_second":12.5,"deliveries_per_second":11250.0}"#;
    for (path, rooms) in [
        ("/v1/rooms/hot", [first, second].join(",")),
        ("/v1/rooms/hot?limit=1", first.to_owned()),
    ] {
        let answer = harness.send("GET", path, b"").await;
        assert_eq!(
            answer.body,
            format!(r#"{{"code":0,"message":"","data":[{rooms}]}}"#)
        );
    }
    for path in ["/v1/rooms/hot?limit=-1", "/v1/rooms/hot?limit=x"] {
        assert_eq!(harness.send("GET", path, b"").await.status, 400);
    }
}

#[tokio::test]
async fn a_negative_limit_is_an_error_and_no_crash() {
    let harness = start();
    for limit in ["-1", "-9223372036854775808"] {
        let path = format!("/goim/online/top?type=live&limit={limit}");
        let answer = harness.send("GET", &path, b"").await;
        assert_eq!(answer.status, 400, "{limit}");
    }
    let answer = harness.send("GET", "/goim/online/total", b"").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_goim_does_not_route_is_not_routed() {
    let harness = start();

    check(&harness, ELSEWHERE).await;
    let moved = harness
        .send("POST", "/goim/push/all/?operation=1", b"")
        .await;
    assert_eq!(moved.header("location"), Some("/goim/push/all?operation=1"));
}

#[tokio::test]
async fn instances_are_null_until_a_comet_is_known() {
    let harness = start();
    let unknown = harness.send("GET", "/goim/nodes/instances", b"").await;
    assert_eq!(unknown.body, r#"{"code":0,"message":"","data":null}"#);

    harness.renew(&comet(), &[]).await;

    let known = harness.send("GET", "/goim/nodes/instances", b"").await;
    let (before, after) = known.body.split_once(r#""latest_timestamp":"#).unwrap();
    let (timestamp, after) = after.split_once(',').unwrap();
    assert_eq!(timestamp.len(), "1700000000000000000".len());
    assert_eq!(
        before,
        concat!(
            r#"{"code":0,"message":"","data":[{"region":"sh","zone":"sh001","env":"dev","#,
            r#""appid":"goim.comet","hostname":"comet-1","addrs":["grpc://10.0.0.1:3109"],"version":"","#
        )
    );
    assert_eq!(
        after,
        concat!(
            r#""metadata":{"addrs":"1.2.3.4,1.2.3.5","conn_count":"5","ip_count":"4","#,
            r#""offline":"false","weight":"10"}}]}"#
        )
    );
}

#[tokio::test]
async fn nodes_leave_out_what_is_zero() {
    let harness = Harness::start(|config| {
        config.nodes.wss_port = 0;
        config.nodes.backoff.jitter = 0.0;
    });

    let answer = harness.send("GET", "/goim/nodes/weighted", b"").await;

    assert_eq!(
        answer.body,
        concat!(
            r#"{"code":0,"message":"","data":{"domain":"localhost","tcp_port":3101,"ws_port":3102,"#,
            r#""heartbeat":240,"nodes":["localhost"],"#,
            r#""backoff":{"max_delay":300,"base_delay":3,"factor":1.8},"heartbeat_max":2}}"#
        )
    );
}

#[tokio::test]
async fn a_push_to_keys_is_one_record_per_server() {
    let harness = start();
    for (key, server) in [("a", "s2"), ("b", "s1"), ("c", "s2")] {
        harness.bind(0, key, server).await;
    }

    let target = "/goim/push/keys?operation=7&keys=c&keys=gone&keys=b&keys=a&keys=c&receipt=1";
    let answer = harness.send("POST", target, b"\xff\x00body").await;

    assert_eq!(
        answer.body,
        r#"{"code":0,"message":"","data":{"accepted":3,"offline":["gone"]}}"#
    );
    let record = |server: &str, keys: &[&str]| PushMsg {
        r#type: Type::Push.into(),
        operation: 7,
        server: server.to_owned(),
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        msg: (&b"\xff\x00body"[..]).into(),
        ..PushMsg::default()
    };
    assert_eq!(
        harness.published(),
        [vec![record("s1", &["b"]), record("s2", &["c", "a"])]]
    );
}

#[tokio::test]
async fn a_push_to_users_reaches_all_their_connections() {
    let harness = start();
    harness.bind(1, "phone", "s1").await;
    harness.bind(1, "laptop", "s1").await;

    let target = "/goim/push/mids?operation=7&mids=1&mids=2&mids=1&receipt=1";
    let answer = harness.send("POST", target, b"hi").await;

    assert_eq!(
        answer.body,
        r#"{"code":0,"message":"","data":{"accepted":2,"offline":["2"]}}"#
    );
    let [records] = &harness.published()[..] else {
        panic!("one push is one publication");
    };
    assert_eq!(records.len(), 1);
    let mut keys = records[0].keys.clone();
    keys.sort_unstable();
    assert_eq!(keys, ["laptop", "phone"]);
}

#[tokio::test]
async fn rooms_and_broadcasts_are_one_record() {
    let harness = start();

    harness
        .send(
            "POST",
            "/goim/push/room?operation=7&type=chat&room=a/b%26c",
            b"",
        )
        .await;
    harness
        .send("POST", "/goim/push/all?operation=8&speed=9", b"x")
        .await;

    let room = PushMsg {
        r#type: Type::Room.into(),
        operation: 7,
        room: "chat://a/b&c".to_owned(),
        ..PushMsg::default()
    };
    let all = PushMsg {
        r#type: Type::Broadcast.into(),
        operation: 8,
        speed: 9,
        msg: (&b"x"[..]).into(),
        ..PushMsg::default()
    };
    assert_eq!(harness.published(), [[room], [all]]);
}

#[tokio::test]
async fn nobody_online_publishes_nothing() {
    let harness = start();

    let answer = harness
        .send("POST", "/goim/push/keys?keys=x&receipt=1", b"")
        .await;

    assert_eq!(
        answer.body,
        r#"{"code":0,"message":"","data":{"accepted":0,"offline":["x"]}}"#
    );
    assert!(harness.published().is_empty());
}

#[tokio::test]
async fn what_is_cut_off_says_when_to_come_back() {
    let harness = start();
    harness.bind(1, "a", "s1").await;
    let by_key = "/goim/push/keys?keys=a";
    let by_mid = "/goim/push/mids?mids=1";

    *harness.log.mood.lock() = LogMood::Unavailable;
    let told = r#"{"code":-503,"message":"push log is unavailable: no broker"}"#;
    check(
        &harness,
        &[
            ("POST", by_key, 503, JSON, told),
            ("POST", by_mid, 503, JSON, told),
        ],
    )
    .await;
    let answer = harness.send("POST", by_key, b"").await;
    assert_eq!(answer.header("retry-after"), Some("1"));

    *harness.sessions.is_cut.lock() = true;
    let refused = r#"{"code":-503,"message":"sessions are unavailable: cut off"}"#;
    let told = r#"{"code":-500,"message":"sessions are unavailable: cut off"}"#;
    check(
        &harness,
        &[
            ("POST", by_key, 503, JSON, refused),
            ("POST", by_mid, 503, JSON, refused),
            ("GET", "/goim/online/top?type=live&limit=1", 200, JSON, told),
            (
                "GET",
                "/goim/online/room?type=live&rooms=1",
                200,
                JSON,
                told,
            ),
        ],
    )
    .await;
}
