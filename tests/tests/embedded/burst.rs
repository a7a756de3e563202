//! More at once than the gateway can carry at once: every push is delivered to
//! everyone it is for, once and in its sender's order, or refused with a time
//! to come back.

use halley_client::Transport;
use tokio::task::JoinSet;

use crate::support::{Answer, Api, Client, Gateway, found, soon, user};

const SENDERS: usize = 64;
/// What ends a burst.
const END: &str = "end";

/// The numbers of each sender's messages, in order.
type Numbers = Vec<Vec<usize>>;

fn is_accepted(answer: &Answer) -> bool {
    if answer.status == 503 {
        assert!(answer.retry_after.is_some_and(|seconds| seconds >= 1));
        return false;
    }
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.text, r#"{"code":0,"message":""}"#);
    true
}

/// Sends `pushes` messages over [`SENDERS`] connections and returns the accepted.
async fn burst(api: &Api, what: &'static str, pushes: usize) -> Numbers {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let api = api.clone();
        let share = pushes / SENDERS + usize::from(sender < pushes % SENDERS);
        senders.spawn(async move {
            let mut accepted = Vec::new();
            for number in 0..share {
                let answer = api.push(what, format!("{sender} {number}")).await;
                if is_accepted(&answer) {
                    accepted.push(number);
                }
            }
            (sender, accepted)
        });
    }
    let mut accepted = vec![Vec::new(); SENDERS];
    while let Some(sent) = senders.join_next().await {
        let (sender, numbers) = sent.expect("no panic");
        accepted[sender] = numbers;
    }
    // What comes last tells the receivers that they have everything.
    let end = found(async || is_accepted(&api.push(what, END).await).then_some(()));
    soon("the end is accepted", end).await;
    accepted
}

async fn receive(mut client: Client) -> Numbers {
    let mut numbers = vec![Vec::new(); SENDERS];
    loop {
        let message = client.message().await;
        if message == END {
            return numbers;
        }
        let (sender, number) = message.split_once(' ').expect("two numbers");
        let sender: usize = sender.parse().expect("a sender");
        numbers[sender].push(number.parse().expect("a number"));
    }
}

/// Returns how many were accepted, when all of them have arrived everywhere.
async fn arrives(gateway: &Gateway, what: &'static str, pushes: usize) -> usize {
    let mut receivers = JoinSet::new();
    let receiving = [
        Transport::Tcp,
        Transport::Websocket,
        Transport::TlsWebsocket,
    ];
    for (number, transport) in receiving.into_iter().enumerate() {
        let member = user(1, &format!("key-{number}"), "live://1");
        receivers.spawn(receive(gateway.log_in(transport, &member).await));
    }

    let accepted = burst(&gateway.api, what, pushes).await;

    while let Some(received) = receivers.join_next().await {
        assert!(received.expect("no panic") == accepted);
    }
    let count = accepted.iter().map(Vec::len).sum();
    let ledger = gateway.settled().await;
    assert_eq!(ledger.comet.delivered, 3 * (count as u64 + 1));
    assert_eq!((ledger.comet.offline, ledger.comet.dropped), (0, 0));
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_20000_to_a_room_arrives() {
    let gateway = Gateway::start();

    let accepted = arrives(&gateway, "room?type=live&room=1", 20_000).await;

    assert_eq!(accepted, 20_000);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_push_log_refuses_and_loses_nothing() {
    let gateway = Gateway::start_with(|settings| settings.push_log.records_max = 64);

    let accepted = arrives(&gateway, "room?type=live&room=1", 6_000).await;

    assert!(accepted < 6_000, "the push log was never full");
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_keys_arrives() {
    let gateway = Gateway::start_with(|settings| settings.push_log.records_max = 64);

    let keys = "keys?keys=key-0&keys=key-1&keys=key-2";
    let accepted = arrives(&gateway, keys, 3_000).await;

    assert!(accepted > 0);
    gateway.drain().await;
}
