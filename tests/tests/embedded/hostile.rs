//! A crowd that means no good: others are served throughout, and in the end the
//! counts add up.

use std::net::SocketAddr;
use std::time::Duration;

use halley_client::Transport;
use halley_wire::Op;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{Client, Gateway, Ledger, found, raw, soon, user, within};

/// How long a message may take to a witness, whatever the crowd does.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// Between two bytes of a client that dawdles.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);
/// What a login may take: less than a dawdler's.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// How many connect and vanish, and how many of them at once, so that both
/// ends of all fit into the open files of one process.
const VANISHING: usize = 5_000;
const VANISHING_AT_ONCE: usize = 250;
const GARBAGE: usize = 60;

fn gateway() -> Gateway {
    Gateway::start_with(|settings| {
        let comet = &mut settings.comet;
        comet.handshake.timeout = HANDSHAKE;
        // Small, so that who does not read falls behind soon.
        comet.socket.send_buffer_bytes = 16 << 10;
        comet.delivery.ring_frames_max = 64;
    })
}

/// Sends `bytes` one by one until the server has had enough.
async fn dawdle(stream: &mut TcpStream, bytes: &[u8]) {
    let mut pace = interval(BYTE_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for byte in bytes {
        pace.tick().await;
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

/// Is not logged in by the deadline, and is sent away without a word.
async fn dawdling_login(address: SocketAddr, login: Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    dawdle(&mut stream, &login).await;
    assert_eq!(raw::rest(&mut stream).await, b"");
}

/// Logs in and then takes its time over a heartbeat, which is answered.
async fn dawdling_heartbeat(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let login = raw::login(&user(9, "slow", ""));
    stream.write_all(&login).await.expect("sent");
    assert_eq!(raw::header(&mut stream).await[11], 8);
    dawdle(&mut stream, &raw::packet(Op::HEARTBEAT, b"")).await;
    assert_eq!(raw::header(&mut stream).await[11], 3);
}

/// Sends noise, which is the end of its own connection.
async fn garbage(address: SocketAddr, seed: usize) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    if seed.is_multiple_of(3) {
        let login = raw::login(&user(9, &format!("noise-{seed}"), "live://1"));
        stream.write_all(&login).await.expect("sent");
        assert_eq!(raw::header(&mut stream).await[11], 8);
    }
    // Numerical Recipes' generator; the seed makes a failure repeatable.
    let mut state = u32::try_from(seed).expect("a small number");
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(64 << 10)
    .collect();
    // Closed in the middle, most likely.
    let _ = stream.write_all(&noise).await;
    raw::rest(&mut stream).await;
}

/// Comes and goes, at a different point each.
async fn vanish(tcp: SocketAddr, websocket: SocketAddr, number: usize) {
    let user = user(9, &format!("ghost-{number}"), "live://1");
    let login = raw::login(&user);
    let address = if number % 5 == 4 { websocket } else { tcp };
    let mut stream = TcpStream::connect(address).await.expect("connected");
    match number % 5 {
        0 => {}
        1 => {
            let _ = stream.write_all(&login[..20]).await;
        }
        2 => {
            let _ = stream.write_all(&login).await;
            stream.set_zero_linger().expect("a reset instead of an end");
        }
        3 => {
            stream.write_all(&login).await.expect("sent");
            assert_eq!(raw::header(&mut stream).await[11], 8);
        }
        _ => {
            let _ = stream.write_all(b"GET /sub HTTP/1.1\r\nHost: x\r\n").await;
        }
    }
}

async fn vanish_all(tcp: SocketAddr, websocket: SocketAddr) {
    for batch in 0..VANISHING / VANISHING_AT_ONCE {
        let first = batch * VANISHING_AT_ONCE;
        let ghosts: JoinSet<()> = (first..first + VANISHING_AT_ONCE)
            .map(|number| vanish(tcp, websocket, number))
            .collect();
        ghosts.join_all().await;
    }
}

fn crowd(gateway: &Gateway) -> JoinSet<()> {
    let tcp = gateway.addresses.tcp[0];
    let websocket = gateway.addresses.websocket[0];
    let mut crowd = JoinSet::new();
    let login = raw::login(&user(9, "never-in", "live://1"));
    crowd.spawn(dawdling_login(tcp, login));
    let upgrade = b"GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n";
    crowd.spawn(dawdling_login(websocket, upgrade.to_vec()));
    crowd.spawn(dawdling_heartbeat(tcp));
    crowd.spawn(vanish_all(tcp, websocket));
    for seed in 0..GARBAGE {
        crowd.spawn(garbage(tcp, seed));
        // Of a number that does not log in.
        crowd.spawn(garbage(websocket, 3 * seed + 1));
    }
    crowd
}

/// Pushes numbered messages until the crowd is gone; every witness gets each
/// in time. Returns how many.
async fn witness(gateway: &Gateway, witnesses: &mut [Client], mut crowd: JoinSet<()>) -> u64 {
    let padding = "x".repeat(2000);
    let mut number = 0;
    while !crowd.is_empty() || number < 100 {
        while let Some(ended) = crowd.try_join_next() {
            ended.expect("no panic");
        }
        let message = format!("{number} {padding}");
        let served = async {
            let body = message.clone();
            gateway.api.push_ok("room?type=live&room=1", body).await;
            for witness in &mut *witnesses {
                assert!(witness.message().await == message, "not number {number}");
            }
        };
        within(SERVED_WITHIN, "a witness is served", served).await;
        number += 1;
    }
    number
}

/// Every socket has one end of its handshake, and every login one close.
async fn handshakes_add_up(gateway: &Gateway) {
    let all_ended = found(async || {
        let samples = gateway.api.metrics().await;
        let handshakes = samples.sum("halley_comet_handshakes_total", &[]);
        let logins = samples.sum("halley_comet_handshakes_total", &["\"ok\""]);
        let closes = samples.sum("halley_comet_closes_total", &[]);
        let adds_up = samples.sum("halley_comet_handshaking", &[]) == 0
            && samples.sum("halley_comet_accepted_total", &[]) == handshakes
            && logins == closes + samples.sum("halley_comet_connections", &[]);
        adds_up.then_some(samples)
    });
    let samples = soon("every handshake has ended", all_ended).await;
    let ended = |reason| samples.sum("halley_comet_handshakes_total", &[reason]);
    // The two that dawdled over their login.
    assert!(ended("\"timeout\"") >= 2);
    assert!(ended("\"malformed\"") + ended("\"too_large\"") > 0);
    assert!(ended("\"not_upgraded\"") > 0);
    assert_eq!(samples.sum("halley_comet_accept_errors_total", &[]), 0);
    let outcomes = "halley_comet_push_outcomes_total";
    let missed = samples.sum(outcomes, &["\"dropped\"", "\"slow_consumer\""]);
    assert!(missed > 0, "what the deaf one missed is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_crowd_harms_nobody_else() {
    let gateway = gateway();
    let mut witnesses = Vec::new();
    for transport in [Transport::Tcp, Transport::Websocket, Transport::TlsTcp] {
        let witness = user(1, &format!("{transport:?}"), "live://1");
        witnesses.push(gateway.log_in(transport, &witness).await);
    }
    let mut deaf = raw::small(gateway.addresses.tcp[0]).await;
    let login = raw::login(&user(9, "deaf", "live://1"));
    deaf.write_all(&login).await.expect("sent");
    assert_eq!(raw::header(&mut deaf).await[11], 8);

    let messages = witness(&gateway, &mut witnesses, crowd(&gateway)).await;

    gateway.connections(4).await;
    drop(deaf);
    gateway.connections(3).await;
    handshakes_add_up(&gateway).await;
    let Ledger { logic, job, comet } = gateway.settled().await;
    assert_eq!((logic.handed_on, job.delivered), (messages, messages));
    assert!(comet.delivered >= 3 * messages);
    assert_eq!(comet.offline, 0);
    assert_eq!(witnesses[0].online().await, 3);
    gateway.drain().await;
}
