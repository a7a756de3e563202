//! The same key again and again: the newest connection has it, whatever the
//! older ones do.

use std::time::Duration;

use halley_client::Transport;
use halley_wire::Op;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Closed, Gateway, found, raw, soon, user, within};

const RECONNECTS: usize = 300;
/// How long a reconnect may take beside a client that does not read: goim's
/// would wait for its idle deadline, 8 minutes.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn both_pushes_reach(gateway: &Gateway, newest: &mut Client, name: &str) {
    let (by_key, by_mid) = (format!("key {name}"), format!("mid {name}"));
    gateway.api.push_ok("keys?keys=phone", by_key.clone()).await;
    gateway.api.push_ok("mids?mids=7", by_mid.clone()).await;
    assert_eq!(newest.message().await, by_key);
    assert_eq!(newest.message().await, by_mid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_reach_the_newest_connection_of_a_key() {
    let gateway = Gateway::start();
    let phone = user(7, "phone", "");
    let transport = |number| match number % 2 {
        0 => Transport::Tcp,
        _ => Transport::Websocket,
    };
    let mut newest = gateway.log_in(transport(0), &phone).await;

    for number in 1..=RECONNECTS {
        // Half of the older ones go just before, half are sent away.
        let older = if number % 4 < 2 {
            drop(newest);
            None
        } else {
            Some(newest)
        };
        newest = gateway.log_in(transport(number), &phone).await;
        both_pushes_reach(&gateway, &mut newest, &number.to_string()).await;
        if let Some(mut older) = older {
            let is_websocket = transport(number - 1).is_websocket();
            let replaced = Closed(is_websocket.then_some(4004));
            assert_eq!(older.closed().await, replaced);
        }
    }

    // Also when the last of the older ones has said goodbye to logic.
    let all_closed = found(async || {
        let samples = gateway.api.metrics().await;
        let closes = samples.sum("halley_comet_closes_total", &[]);
        (closes == RECONNECTS as u64).then_some(())
    });
    soon("every older connection is closed", all_closed).await;
    gateway.connections(1).await;
    both_pushes_reach(&gateway, &mut newest, "at last").await;
    let ledger = gateway.settled().await;
    assert_eq!(ledger.comet.delivered, 2 * (RECONNECTS as u64 + 1));
    assert_eq!((ledger.logic.offline, ledger.comet.offline), (0, 0));
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_connection_that_does_not_read_delays_nothing() {
    let gateway = Gateway::start_with(|settings| {
        settings.comet.socket.send_buffer_bytes = 16 << 10;
        // Everyone shares it.
        settings.comet.delivery.buckets = 1;
    });
    let phone = user(7, "phone", "live://1");
    let mut stalled = raw::small(gateway.addresses.tcp[0]).await;
    let login = raw::login(&phone);
    stalled.write_all(&login).await.expect("sent");
    assert_eq!(raw::header(&mut stalled).await[11], 8);
    for _ in 0..20 {
        let body = vec![b'x'; 64 << 10];
        gateway.api.push_ok("keys?keys=phone", body).await;
    }
    let pushed = found(async || {
        let samples = gateway.api.metrics().await;
        (samples.sum("halley_comet_pushes_total", &[]) == 20).then_some(())
    });
    soon("comet has the pushes", pushed).await;
    let neighbour = user(8, "neighbour", "live://1");
    let mut neighbour = gateway.log_in(Transport::Websocket, &neighbour).await;

    let reconnected = async {
        let mut newest = gateway.log_in(Transport::Tcp, &phone).await;
        both_pushes_reach(&gateway, &mut newest, "again").await;
        gateway.api.push_ok("room?type=live&room=1", "room").await;
        assert_eq!(newest.message().await, "room");
        assert_eq!(neighbour.message().await, "room");
        let rooms = neighbour.call(Op::CHANGE_ROOM, "live://2").await;
        assert_eq!(rooms.header.op, Op::CHANGE_ROOM_REPLY);
        newest
    };
    let newest = within(AT_ONCE, "the reconnect is served", reconnected).await;

    gateway.connections(2).await;
    let ledger = gateway.settled().await;
    assert!(ledger.comet.dropped > 0, "what nobody read is counted");
    drop((newest, stalled));
    gateway.drain().await;
}
