//! Every push that was accepted ends in exactly one way, and all roles agree on
//! how many ended how.

use halley_client::Transport;
use halley_wire::{AuthBody, Op};

use crate::support::{Client, Gateway, user};

/// How often the round of pushes is repeated.
const ROUNDS: usize = 20;

/// What one client is to get of a round, by name.
const ROUND_OF_A: [&str; 6] = ["keys", "mixed", "user", "users", "room", "all"];
const ROUND_OF_B: [&str; 5] = ["keys", "user", "users", "room", "all"];
const ROUND_OF_C: [&str; 3] = ["mixed", "users", "all"];

async fn push_round(gateway: &Gateway) {
    let api = &gateway.api;
    api.push_ok("keys?keys=a&keys=b", "keys").await;
    api.push_ok("keys?keys=nobody", "nobody").await;
    api.push_ok("keys?keys=a&keys=nobody&keys=c", "mixed").await;
    api.push_ok("keys?keys=deaf", "not accepted").await;
    api.push_ok("mids?mids=1", "user").await;
    api.push_ok("mids?mids=99", "nobody").await;
    api.push_ok("mids?mids=1&mids=99&mids=2", "users").await;
    api.push_ok("room?type=live&room=1", "room").await;
    api.push_ok("room?type=live&room=empty", "nobody").await;
    api.push_ok("all?", "all").await;
}

/// Reads as many messages as there should be and compares them without regard
/// to order, which is promised only within a key and a room.
async fn gets(client: &mut Client, round: &[&str]) {
    let mut expected = round.repeat(ROUNDS);
    expected.sort_unstable();
    let mut messages = Vec::new();
    for _ in 0..expected.len() {
        messages.push(client.message().await);
    }
    messages.sort_unstable();
    assert_eq!(messages, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_in_are_the_sum_of_their_outcomes() {
    let gateway = Gateway::start();
    let mut a = gateway
        .log_in(Transport::Tcp, &user(1, "a", "live://1"))
        .await;
    let mut b = gateway
        .log_in(Transport::Websocket, &user(1, "b", "live://1"))
        .await;
    let mut c = gateway
        .log_in(Transport::TlsTcp, &user(2, "c", "live://2"))
        .await;
    let deaf = AuthBody {
        accepts: Vec::new(),
        ..user(3, "deaf", "")
    };
    let mut deaf = gateway.log_in(Transport::TlsWebsocket, &deaf).await;

    for _ in 0..ROUNDS {
        push_round(&gateway).await;
    }
    gets(&mut a, &ROUND_OF_A).await;
    gets(&mut b, &ROUND_OF_B).await;
    gets(&mut c, &ROUND_OF_C).await;

    let ledger = gateway.settled().await;
    let rounds = ROUNDS as u64;
    let per_round = |count: u64| count.is_multiple_of(rounds).then_some(count / rounds);
    // keys 2, mixed 2, deaf 1, user 2, users 3, two rooms, everyone.
    assert_eq!(per_round(ledger.logic.handed_on), Some(13));
    assert_eq!(per_round(ledger.logic.offline), Some(4));
    assert_eq!(ledger.logic.refused, 0);
    assert_eq!(per_round(ledger.job.delivered), Some(13));
    assert_eq!(ledger.job.failed, 0);
    let received = ROUND_OF_A.len() + ROUND_OF_B.len() + ROUND_OF_C.len();
    assert_eq!(per_round(ledger.comet.delivered), Some(received as u64));
    // The room without members; the client that does not accept the operation.
    assert_eq!(per_round(ledger.comet.offline), Some(1));
    assert_eq!(per_round(ledger.comet.dropped), Some(1));

    // Nothing more came than was counted.
    for client in [&mut a, &mut b, &mut c, &mut deaf] {
        let reply = client.call(Op::HEARTBEAT, "").await;
        assert_eq!(reply.header.op, Op::HEARTBEAT_REPLY);
    }
    gateway.drain().await;
}

#[tokio::test]
async fn pushes_while_nobody_is_connected_are_offline() {
    let gateway = Gateway::start();

    gateway.api.push_ok("all?", "to nobody").await;
    gateway.api.push_ok("all?speed=10", "to nobody").await;
    gateway.api.push_ok("room?type=live&room=1", "").await;
    gateway.api.push_ok("keys?keys=nobody", "").await;
    gateway.api.push_ok("mids?mids=1", "").await;

    let offline = async || {
        let ledger = gateway.settled().await;
        (ledger.comet.offline == 3).then_some(ledger)
    };
    let ledger = crate::support::soon("all are offline", crate::support::found(offline)).await;
    assert_eq!(ledger.logic.handed_on, 3);
    assert_eq!(ledger.logic.offline, 2);
    assert_eq!(ledger.job.delivered, 3);
    assert_eq!((ledger.comet.pushes, ledger.comet.delivered), (3, 0));

    // Nothing has crashed: who comes now is served.
    let mut late = gateway
        .log_in(Transport::Tcp, &user(1, "late", "live://1"))
        .await;
    gateway.api.push_ok("all?", "to one").await;
    assert_eq!(late.message().await, "to one");
    gateway.drain().await;
}
