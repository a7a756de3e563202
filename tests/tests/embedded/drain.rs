//! The end under load: what was accepted is delivered before the clients are
//! sent away, and the clients are told.

use halley_client::Transport;
use halley_wire::{Op, Packet};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;

use crate::support::{Api, Client, Closed, Gateway, Ledger, found, soon, user};

const CLIENTS: [Transport; 4] = [
    Transport::Tcp,
    Transport::Websocket,
    Transport::TlsTcp,
    Transport::TlsWebsocket,
];
/// Members of the room beyond those, who get what is for the room and for all:
/// to reach them takes a while, in which the end begins.
const AUDIENCE: usize = 200;
/// One sender each; the clients are whom all of them mean.
const PUSHES: [&str; 5] = [
    "room?type=live&room=1",
    "room?type=live&room=1",
    "keys?keys=key-0&keys=key-1&keys=key-2&keys=key-3",
    "mids?mids=1",
    "all?",
];
/// Which of them reach the audience.
const FOR_AUDIENCE: [bool; PUSHES.len()] = [true, true, false, false, true];
/// What must be on its way before the end begins.
const UNDER_WAY: u64 = 300;

/// Pushes one message after another until the gateway refuses, and returns how
/// many it took.
async fn push_until_refused(api: Api, sender: usize) -> usize {
    for number in 0.. {
        let message = format!("{sender} {number}");
        let answer = api.push(PUSHES[sender], message).await;
        if answer.status == 503 {
            assert!(answer.retry_after.is_some());
            return number;
        }
        assert_eq!(answer.text, r#"{"code":0,"message":""}"#);
    }
    unreachable!("the gateway refuses at some time")
}

/// What a client was sent up to its end.
struct Heard {
    /// Of each sender, how many messages, which came in order.
    messages: [usize; PUSHES.len()],
    goodbye: Option<Packet>,
    closed: Closed,
}

async fn listen(mut client: Client) -> Heard {
    let mut messages = [0; PUSHES.len()];
    let mut goodbye = None;
    loop {
        match client.next().await {
            Err(closed) => {
                return Heard {
                    messages,
                    goodbye,
                    closed,
                };
            }
            Ok(packet) if packet.header.op == Op::DISCONNECT_REPLY => goodbye = Some(packet),
            Ok(packet) => {
                assert_eq!(goodbye, None, "a message after the goodbye");
                let text = std::str::from_utf8(&packet.body).expect("text");
                let (sender, number) = text.split_once(' ').expect("two numbers");
                let sender: usize = sender.parse().expect("a sender");
                assert_eq!(number, messages[sender].to_string(), "of sender {sender}");
                messages[sender] += 1;
            }
        }
    }
}

struct Listening {
    transport: Transport,
    in_audience: bool,
    heard: JoinHandle<Heard>,
}

async fn start_clients(gateway: &Gateway) -> Vec<Listening> {
    let mut clients = Vec::new();
    for number in 0..CLIENTS.len() + AUDIENCE {
        let in_audience = number >= CLIENTS.len();
        let transport = CLIENTS[number % CLIENTS.len()];
        let mid = if in_audience { 2 } else { 1 };
        let user = user(mid, &format!("key-{number}"), "live://1");
        let client = gateway.log_in(transport, &user).await;
        clients.push(Listening {
            transport,
            in_audience,
            heard: TaskTracker::new().spawn(listen(client)),
        });
    }
    clients
}

fn start_senders(gateway: &Gateway) -> JoinSet<(usize, usize)> {
    let mut senders = JoinSet::new();
    for sender in 0..PUSHES.len() {
        let pushing = push_until_refused(gateway.api.clone(), sender);
        senders.spawn(async move { (sender, pushing.await) });
    }
    senders
}

fn expect_told(transport: Transport, heard: &Heard) {
    if transport.is_websocket() {
        assert_eq!(heard.closed, Closed(Some(1012)));
        return;
    }
    assert_eq!(heard.closed, Closed(None));
    let goodbye = heard.goodbye.as_ref().expect("a goodbye");
    let text = std::str::from_utf8(&goodbye.body).expect("text");
    assert_eq!(text, r#"{"reason":"draining","reconnect_ms":[1000,10000]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_delivered_before_the_end() {
    let mut gateway = Gateway::start();
    let clients = start_clients(&gateway).await;
    let mut senders = start_senders(&gateway);
    let under_load = found(async || {
        let ledger = Ledger::read(&gateway.api).await;
        (ledger.logic.handed_on >= UNDER_WAY).then_some(())
    });
    soon("the load is on", under_load).await;

    let mut stages = vec![gateway.drain_next().await];
    let mut accepted = [0; PUSHES.len()];
    while let Some(sent) = senders.join_next().await {
        let (sender, count) = sent.expect("no panic");
        accepted[sender] = count;
    }
    stages.push(gateway.drain_next().await);
    stages.push(gateway.drain_next().await);
    // What watches the end ends last.
    let ledger = gateway.settled().await;
    stages.push(gateway.drain_next().await);

    let names: Vec<_> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["logic.push", "job", "comet", "logic"]);
    assert!(stages.iter().all(|(_, outcome)| outcome.forced == 0));
    assert_eq!(stages[2].1.clean, clients.len() as u64);
    let mut deliveries = 0;
    for client in clients {
        let heard = soon("the client ends", client.heard).await;
        let heard = heard.expect("no panic");
        let mut expected = accepted;
        for (count, for_audience) in expected.iter_mut().zip(FOR_AUDIENCE) {
            if client.in_audience && !for_audience {
                *count = 0;
            }
        }
        assert_eq!(heard.messages, expected, "{:?}", client.transport);
        expect_told(client.transport, &heard);
        deliveries += expected.iter().sum::<usize>();
    }
    assert_eq!(ledger.comet.delivered, deliveries as u64);
    assert_eq!((ledger.comet.offline, ledger.comet.dropped), (0, 0));
    assert_eq!(ledger.job.failed, 0);
}
