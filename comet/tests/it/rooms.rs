//! Rooms: joining, changing, counting.

use halley_proto::halley::node::Grant;
use halley_wire::Op;

use crate::support::{Node, eventually};

#[tokio::test]
async fn changing_to_the_same_room_changes_nothing() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "live://1").await;

    let reply = client.call(Op::CHANGE_ROOM, b"live://1").await;

    assert_eq!(
        (reply.header.op, &reply.body[..]),
        (Op::CHANGE_ROOM_REPLY, &b"live://1"[..])
    );
    assert_eq!(client.online().await, 1);
    node.push_room("live://1", &[(1000, b"still in")]).await;
    assert_eq!(client.next().await.body, "still in");
}

#[tokio::test]
async fn the_count_is_that_of_the_current_room() {
    let node = Node::start().await;
    let mut mover = node.log_in("a", "live://1").await;
    let mut others = node.crowd(40, "live://1").await;

    assert_eq!(mover.online().await, 41);
    mover.call(Op::CHANGE_ROOM, b"live://2").await;
    assert_eq!(mover.online().await, 1);
    assert_eq!(others[0].online().await, 40);
    mover.call(Op::CHANGE_ROOM, b"").await;
    assert_eq!(mover.online().await, 0);
}

#[tokio::test]
async fn members_on_other_nodes_are_counted() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "live://1").await;
    node.logic
        .state
        .lock()
        .elsewhere
        .insert("live://1".to_owned(), 5);

    let mut online = 0;
    while online != 6 {
        online = client.online().await;
    }
    let mut late = node.log_in("b", "live://1").await;
    assert_eq!(late.online().await, 7);
}

#[tokio::test]
async fn a_room_name_that_is_not_text_stops_nothing() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "live://1").await;

    let reply = client.call(Op::CHANGE_ROOM, b"\xff\xfe").await;

    assert_eq!(&reply.body[..], b"\xff\xfe");
    assert_eq!(client.online().await, 1);
    let renewals = || node.metric("logic_calls_total", &["ok", "renew_online"]);
    let before = renewals();
    eventually("counts go on", || renewals() > before + 1).await;
    assert_eq!(node.metric("rooms_refused_total", &[]), 1);
}

#[tokio::test]
async fn rooms_end_and_begin_under_their_members_feet() {
    let node = Node::start().await;
    let movers = (0..8).map(|number| {
        let node = &node;
        async move {
            let mut client = node.log_in(&format!("key-{number}"), "live://1").await;
            for _ in 0..200 {
                client.call(Op::CHANGE_ROOM, b"live://2").await;
                client.call(Op::CHANGE_ROOM, b"live://1").await;
            }
            client
        }
    });
    let mut clients = futures_util::future::join_all(movers).await;

    assert_eq!(clients[0].online().await, 8);
    node.push_room("live://1", &[(1000, b"all here")]).await;
    for client in &mut clients {
        assert_eq!(client.next().await.body, "all here");
    }
    drop(clients);
    node.connections(0).await;
    let rooms = node
        .service
        .rooms(tonic::Request::new(halley_proto::goim::comet::RoomsReq {}))
        .await;
    assert!(rooms.expect("rooms").into_inner().rooms.is_empty());
}

#[tokio::test]
async fn rooms_beyond_the_grant_are_not_joined() {
    let node = Node::start().await;
    node.logic.state.lock().grant = Some(Grant {
        restrict_rooms: true,
        rooms: vec!["live://1".to_owned()],
        restrict_ops: true,
        ops: vec![1000],
        ..Grant::default()
    });
    let mut client = node.log_in("a", "live://1").await;

    client.call(Op::CHANGE_ROOM, b"live://2").await;
    client.call(Op::SUB, b"2000").await;

    node.push_room("live://2", &[(1000, b"not for it")]).await;
    node.push(&["a"], 2000, b"not for it").await;
    node.push_room("live://1", &[(1000, b"for it")]).await;
    assert_eq!(client.next().await.body, "for it");
    assert_eq!(node.settled().await, (3, 1, 1, 1));
}

#[tokio::test]
async fn a_room_name_above_the_limit_is_not_joined_at_login_either() {
    let node = Node::start_with(|config| config.limits.room_name_bytes_max = 8).await;
    let mut client = node.log_in("a", "live://12").await;
    assert_eq!(client.online().await, 0, "logged in, and in no room");
    let mut in_one = node.log_in("b", "live://1").await;

    client.call(Op::CHANGE_ROOM, b"live://12").await;

    node.push_room("live://12", &[(1000, b"for nobody")]).await;
    assert_eq!(client.online().await, 0);
    assert_eq!(in_one.online().await, 1);
    assert_eq!(node.metric("rooms_refused_total", &[]), 2);
    assert_eq!(node.settled().await, (1, 0, 1, 0));
}

#[tokio::test]
async fn operations_above_the_limit_are_not_accepted_and_answered() {
    let node = Node::start_with(|config| config.limits.accepts_max = 2).await;
    let mut client = node.log_in("a", "").await;

    let reply = client.call(Op::SUB, b"2000,3000").await;

    assert_eq!(&reply.body[..], b"2000,3000");
    for op in [1000, 2000, 3000] {
        node.push(&["a"], op, op.to_string().as_bytes()).await;
    }
    assert_eq!(client.next().await.body, "1000");
    assert_eq!(client.next().await.body, "2000");
    assert_eq!(node.settled().await, (3, 2, 0, 1));
}

#[tokio::test]
async fn sub_and_unsub_change_what_is_accepted() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "").await;

    assert_eq!(
        client.call(Op::SUB, b"2000,x").await.header.op,
        Op::SUB_REPLY
    );
    node.push(&["a"], 2000, b"a bad list is ignored").await;
    client.call(Op::SUB, b"2000,-5").await;
    node.push(&["a"], 2000, b"two thousand").await;
    node.push(&["a"], -5, b"minus five").await;
    assert_eq!(client.next().await.body, "two thousand");
    assert_eq!(client.next().await.body, "minus five");
    assert_eq!(
        client.call(Op::UNSUB, b"2000").await.header.op,
        Op::UNSUB_REPLY
    );
    node.push(&["a"], 2000, b"no more").await;

    assert_eq!(node.settled().await, (4, 2, 0, 2));
}

#[tokio::test]
async fn echoes_are_the_clients_own_bytes() {
    let node = Node::start().await;
    let mut client = node.log_in("a", "").await;
    for number in 0..200 {
        client
            .send(Op::CHANGE_ROOM, format!("live://{number:0>100}").as_bytes())
            .await;
    }
    for number in 0..200 {
        let expected = format!("live://{number:0>100}");
        assert_eq!(client.next().await.body, expected);
    }
}

#[tokio::test]
async fn an_address_that_stands_for_all_is_not_told_to_clients() {
    let everywhere: std::net::SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let own: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let addrs = async |tcp, addrs: &[&str]| {
        let node = Node::start_with(|config| {
            config.tcp.bind = vec![tcp];
            config.websocket.bind = vec![own];
            config.addrs = addrs.iter().map(ToString::to_string).collect();
        });
        node.await.status.borrow().addrs.clone()
    };

    assert_eq!(addrs(own, &[]).await, ["127.0.0.1"]);
    assert!(addrs(everywhere, &[]).await.is_empty());
    assert_eq!(addrs(everywhere, &["203.0.113.7"]).await, ["203.0.113.7"]);
}

#[tokio::test]
async fn logic_learns_what_the_node_is() {
    let node = Node::start_with(|config| config.weight = 7).await;
    let _client = node.log_in("a", "live://1").await;

    eventually("the status says one connection", || {
        let state = node.logic.state.lock();
        let status = state.status.as_ref();
        status.is_some_and(|status| status.conn_count == 1 && status.weight == 7)
    })
    .await;
}

#[tokio::test]
async fn addresses_are_counted_right_across_replaced_logins() {
    let node = Node::start().await;
    let counted = |expected: i64| {
        let node = &node;
        async move {
            eventually(&format!("{expected} address"), || {
                let state = node.logic.state.lock();
                let status = state.status.as_ref();
                status.is_some_and(|status| status.ip_count == expected)
            })
            .await;
        }
    };
    let mut old = node.log_in("a", "").await;
    let new = node.log_in("a", "").await;
    old.closed().await;
    counted(1).await;

    drop(new);

    counted(0).await;
}

#[tokio::test]
async fn a_hot_room_is_told_of() {
    let node = Node::start_with(|config| config.delivery.hot_room_deliveries_per_second = 10).await;
    let mut client = node.log_in("a", "live://\"1\"").await;
    let _quiet = node.log_in("b", "live://2").await;

    let pushes = [(1000, &b"x"[..]); 100];
    node.push_room("live://\"1\"", &pushes).await;
    node.push_room("live://2", &pushes[..1]).await;
    for _ in pushes {
        client.next().await;
    }

    let told = || node.logic.state.lock().hot_rooms.rooms.clone();
    eventually("logic is told", || !told().is_empty()).await;
    let rooms = told();
    assert_eq!((rooms.len(), &*rooms[0].room), (1, "live://\"1\""));
    assert_eq!(rooms[0].members, 1);
    assert!(rooms[0].deliveries_per_second > 10.0, "{rooms:?}");
    assert_eq!(node.metric("hot_rooms", &[]), 1);
    let name = r#"hot_room_deliveries_per_second{room="live://\"1\""} "#;
    assert!(node.metrics().contains(name));
}

#[tokio::test]
async fn a_quiet_room_does_not_wait_for_the_pass_over_a_busy_one() {
    const BUSY: usize = 600;
    let node = Node::start().await;
    let mut busy = node.crowd(BUSY, "live://busy").await;
    let mut quiet = node.log_in("quiet", "live://quiet").await;

    node.push_room("live://busy", &[(1000, b"for many")]).await;
    node.push_room("live://quiet", &[(1000, b"for one")]).await;
    assert_eq!(quiet.next().await.body, "for one");

    // On the one thread of this test nothing but the pass's yields let the quiet one in.
    let delivered = node.metric("push_outcomes_total", &["\"delivered\""]);
    assert!(delivered < BUSY as u64, "{delivered} were before it");
    for member in &mut busy {
        assert_eq!(member.next().await.body, "for many");
    }
}

#[tokio::test]
async fn what_comes_during_a_pass_goes_along_to_those_whose_turn_is_later() {
    const MEMBERS: usize = 600;
    let node = Node::start().await;
    let mut members = node.crowd(MEMBERS, "live://1").await;
    let delivered = || node.metric("push_outcomes_total", &["\"delivered\""]);
    let writes_before = node.metric("writes_total", &[]);

    node.push_room("live://1", &[(1000, b"one")]).await;
    while delivered() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(delivered() < 200, "the pass has only begun");
    node.push_room("live://1", &[(1000, b"two")]).await;
    node.settled().await;

    let writes = node.metric("writes_total", &[]) - writes_before;
    assert!(
        writes < 2 * MEMBERS as u64,
        "{writes}: each had a write of its own"
    );
    for member in &mut members {
        assert_eq!(member.next().await.body, "one");
        assert_eq!(member.next().await.body, "two");
    }
}
