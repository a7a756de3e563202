use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream as Client;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    event_loop: EventLoop,
    loops: EventLoops,
    tasks: TaskTracker,
    listener: TcpListener,
}

impl Running {
    fn new() -> Self {
        let event_loop = EventLoop::new().expect("a loop");
        Self {
            loops: EventLoops::new(std::slice::from_ref(&event_loop)),
            event_loop,
            tasks: TaskTracker::new(),
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"),
        }
    }

    /// A client whose connection begins with `handshake`.
    async fn connect<H>(&self, handshake: impl FnOnce(Socket) -> H) -> Client
    where
        H: Future<Output = Option<Seat>> + Send + 'static,
    {
        let address = self.listener.local_addr().expect("an address");
        let client = Client::connect(address).await.expect("connected");
        let (stream, _) = self.listener.accept().expect("accepted");
        stream.set_nonblocking(true).expect("a socket");
        let resident = self.tasks.token();
        self.loops
            .spawn(stream, resident, |socket, _| handshake(socket));
        client
    }

    /// Runs until nobody is left.
    async fn run_out(&mut self) {
        let run = async {
            while !self.tasks.is_empty() {
                poll_fn(|cx| self.event_loop.poll_due(cx)).await;
                while self.event_loop.run_due() {}
            }
        };
        timeout(PATIENCE, run).await.expect("everyone ends");
    }
}

#[tokio::test]
async fn a_connection_runs_when_its_socket_is_ready() {
    let mut running = Running::new();
    let mut client = running
        .connect(|mut socket| async move {
            let mut read = Vec::new();
            socket.read_to_end(&mut read).await.expect("read");
            socket.write_all(&read).await.expect("written");
            None
        })
        .await;

    client.write_all(b"to the end").await.expect("written");
    client.shutdown().await.expect("said to be all");
    running.run_out().await;

    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("read");
    assert_eq!(answer, "to the end");
}

#[tokio::test]
async fn a_full_socket_is_written_to_when_it_has_room() {
    const BYTES: usize = 32 << 20;
    let mut running = Running::new();
    let mut client = running
        .connect(|mut socket| async move {
            socket.write_all(&vec![7; BYTES]).await.expect("written");
            None
        })
        .await;

    let mut read = Vec::new();
    let ((), received) = tokio::join!(running.run_out(), client.read_to_end(&mut read));
    assert_eq!(received.expect("read"), BYTES);
    assert!(read.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_connection_runs_when_it_is_woken() {
    let mut running = Running::new();
    let _client = running
        .connect(|socket| async move {
            // By the clock, and by what it yields to.
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::task::yield_now().await;
            drop(socket);
            None
        })
        .await;

    running.run_out().await;
}

#[tokio::test]
async fn a_round_has_few_handshakes() {
    let mut running = Running::new();
    let mut clients = Vec::new();
    for _ in 0..=2 * HANDSHAKES_MAX {
        let ends = |socket| async move {
            drop(socket);
            None
        };
        clients.push(running.connect(ends).await);
    }

    for ended in [HANDSHAKES_MAX, 2 * HANDSHAKES_MAX, 2 * HANDSHAKES_MAX + 1] {
        assert!(running.event_loop.run_due());
        assert_eq!(running.event_loop.entrance.wakes.free_count(), ended);
    }
    while running.event_loop.run_due() {}
    assert!(
        running.tasks.is_empty(),
        "nobody keeps the node from ending"
    );
}
