//! A server that runs out of open files goes on listening: when some clients
//! have left, others can log in.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use halley_tests::unconfigured;
use halley_wire::{Header, Op, packet};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Open files of the server, which needs some two dozen itself.
const OPEN_FILES_MAX: u32 = 80;
/// More than fit.
const CLIENTS: usize = 120;

/// The real binary, killed when the test ends.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Starts it with so few open files that it cannot have more by itself.
    fn start() -> Self {
        let mut command = unconfigured("sh");
        command
            .arg("-c")
            .arg(format!(r#"ulimit -n {OPEN_FILES_MAX} && exec "$0" "$@""#))
            .arg(env!("CARGO_BIN_EXE_halley"))
            // Above what the open files allow: they are to be the limit.
            .arg("--set=comet.limits.connections_max=1000")
            .arg("--set=log.format=json")
            .arg("--set=log.filter=info");
        for key in [
            "comet.tcp.bind",
            "comet.websocket.bind",
            "comet.rpc.bind",
            "logic.http.bind",
            "logic.rpc.bind",
        ] {
            command.arg(format!("--set={key}=127.0.0.1:0"));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start halley");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Reads the log up to the first line that contains the text.
    fn log_line(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("never in the log: {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The address after this scheme in the lines that say where it listens.
    fn address(&self, scheme: &str) -> SocketAddr {
        let line = self.log_line(&format!("\"{scheme}://127.0.0.1:"));
        let (_, after) = line.split_once("://").expect("an address");
        let end = after.find(['"', '/']).expect("its end");
        after[..end].parse().expect("an address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// Connects and asks for a login, which is answered when the server gets to it.
fn log_in(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    let (ver, op, seq) = (1, Op::AUTH, 1);
    let mut login = Vec::new();
    packet::encode(&mut login, Header { ver, op, seq }, b"{}");
    stream.write_all(&login).expect("send");
    stream
}

fn expect_answer(stream: &mut TcpStream) {
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).expect("the answer");
    assert_eq!(answer[11], 8);
}

/// The value of a metric.
fn metric(http: SocketAddr, name: &str) -> u64 {
    let mut stream = connect(http);
    let request = "GET /metrics HTTP/1.1\r\nhost: halley\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("the metric").parse().expect("a number")
}

#[test]
fn a_server_without_open_files_goes_on_when_it_has_some_again() {
    let server = Server::start();
    let tcp = server.address("tcp");
    let http = server.address("http");

    let mut clients: Vec<_> = (0..CLIENTS).map(|_| log_in(tcp)).collect();
    expect_answer(&mut clients[0]);
    server.log_line(r#""message":"accept""#);

    // The last ones are those who wait to be accepted.
    clients.truncate(10);
    let mut late: Vec<_> = (0..10).map(|_| log_in(tcp)).collect();
    for client in clients.iter_mut().skip(1).chain(&mut late) {
        expect_answer(client);
    }
    assert!(metric(http, "halley_comet_accept_errors_total") > 0);
    let deadline = Instant::now() + PATIENCE;
    while metric(http, "halley_comet_connections") != 20 {
        assert!(Instant::now() < deadline, "those who left still count");
    }
}
