//! What is pushed to a room or a key one after another arrives so.

use halley_client::Transport;

use crate::support::{Gateway, user};

const EVERY_TRANSPORT: [Transport; 4] = [
    Transport::Tcp,
    Transport::Websocket,
    Transport::TlsTcp,
    Transport::TlsWebsocket,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_of_five_gets_200_messages_in_order() {
    let gateway = Gateway::start();
    let mut members = Vec::new();
    for number in 0..5 {
        let transport = EVERY_TRANSPORT[number % EVERY_TRANSPORT.len()];
        let member = user(1, &format!("member-{number}"), "live://1000");
        members.push(gateway.log_in(transport, &member).await);
    }

    for number in 0..200 {
        let body = number.to_string();
        gateway.api.push_ok("room?type=live&room=1000", body).await;
    }

    for member in &mut members {
        for number in 0..200 {
            assert_eq!(member.message().await, number.to_string());
        }
    }
    let ledger = gateway.settled().await;
    assert_eq!(ledger.comet.delivered, 5 * 200);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_gets_2000_messages_in_order() {
    let gateway = Gateway::start();
    let mut tcp = gateway.log_in(Transport::Tcp, &user(1, "tcp", "")).await;
    let websocket = user(2, "websocket", "");
    let mut websocket = gateway.log_in(Transport::Websocket, &websocket).await;

    for number in 0..2000 {
        // One by user as well: it goes to the same key.
        let what = match number % 10 {
            9 => "mids?mids=1&mids=2",
            _ => "keys?keys=tcp&keys=websocket",
        };
        gateway.api.push_ok(what, number.to_string()).await;
    }

    for client in [&mut tcp, &mut websocket] {
        for number in 0..2000 {
            assert_eq!(client.message().await, number.to_string());
        }
    }
    gateway.drain().await;
}
