//! How many are online: clients and backends are told the same, soon.

use std::time::Duration;

use halley_client::Transport;
use halley_wire::Op;
use serde_json::{Value, json};

use crate::support::{Client, Gateway, found, user, within};

/// When everyone must have heard of a change.
const PROMISED: Duration = Duration::from_secs(3);

/// Expects the API's counts: rooms 1 to 3 of type `live`, the largest first,
/// and connections.
async fn api_agrees(gateway: &Gateway, rooms: &Value, top: &Value, connections: u64) {
    let mut last = Value::Null;
    let agree = found(async || {
        let ask = async |target| gateway.api.get(target).await.data();
        let now = json!({
            "rooms": ask("/goim/online/room?type=live&rooms=1&rooms=2&rooms=3").await,
            "top": ask("/goim/online/top?type=live&limit=10").await,
            "total": ask("/goim/online/total").await,
        });
        let ip_count = u64::from(connections > 0);
        let expected = json!({
            "rooms": rooms,
            "top": top,
            "total": {"conn_count": connections, "ip_count": ip_count},
        });
        last = now;
        (last == expected).then_some(())
    });
    let agreed = tokio::time::timeout(PROMISED, agree).await;
    assert!(agreed.is_ok(), "the counts are still {last}");
}

async fn heartbeat_says(client: &mut Client, expected: i32) {
    let told = found(async || (client.online().await == expected).then_some(()));
    within(PROMISED, "the heartbeat's count", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_told_the_same_counts_soon() {
    let gateway = Gateway::start();
    let mut clients = Vec::new();
    for (number, (transport, room)) in [
        (Transport::Tcp, "live://1"),
        (Transport::Websocket, "live://1"),
        (Transport::TlsTcp, "live://1"),
        (Transport::TlsWebsocket, "live://2"),
        (Transport::Tcp, "livex://1"),
        (Transport::Tcp, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let user = user(1, &format!("key-{number}"), room);
        clients.push(gateway.log_in(transport, &user).await);
    }

    for (client, expected) in clients.iter_mut().zip([3, 3, 3, 1, 1, 0]) {
        // At once on their own node.
        assert_eq!(client.online().await, expected);
    }
    let top = json!([{"room_id": "1", "count": 3}, {"room_id": "2", "count": 1}]);
    api_agrees(&gateway, &json!({"1": 3, "2": 1, "3": 0}), &top, 6).await;

    clients[0].call(Op::CHANGE_ROOM, "live://2").await;
    clients[5].call(Op::CHANGE_ROOM, "live://2").await;
    for (client, expected) in [(0, 3), (1, 2), (3, 3), (5, 3)] {
        assert_eq!(clients[client].online().await, expected);
    }
    let top = json!([{"room_id": "2", "count": 3}, {"room_id": "1", "count": 2}]);
    api_agrees(&gateway, &json!({"1": 2, "2": 3, "3": 0}), &top, 6).await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_everyone_left_has_nobody() {
    let gateway = Gateway::start();
    let stays = user(1, "stays", "live://1");
    let mut stays = gateway.log_in(Transport::Tcp, &stays).await;
    let goes = user(2, "goes", "live://1");
    let mut goes = gateway.log_in(Transport::Websocket, &goes).await;
    assert_eq!(goes.online().await, 2);
    let top = json!([{"room_id": "1", "count": 2}]);
    api_agrees(&gateway, &json!({"1": 2, "2": 0, "3": 0}), &top, 2).await;

    drop(goes);
    heartbeat_says(&mut stays, 1).await;
    stays.call(Op::CHANGE_ROOM, "").await;

    assert_eq!(stays.online().await, 0);
    let nobody = json!({"1": 0, "2": 0, "3": 0});
    api_agrees(&gateway, &nobody, &json!([]), 1).await;
    drop(stays);
    api_agrees(&gateway, &nobody, &json!([]), 0).await;
    gateway.drain().await;
}
