//! The real binary as a child process, and what it says.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use halley_tests::unconfigured;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Ports that are free on any machine, for every listener.
pub(crate) const FREE_PORTS: [&str; 10] = [
    "--set=comet.tcp.bind=127.0.0.1:0",
    "--set=comet.websocket.bind=127.0.0.1:0",
    "--set=comet.tls.tcp_bind=127.0.0.1:0",
    "--set=comet.tls.websocket_bind=127.0.0.1:0",
    "--set=comet.rpc.bind=127.0.0.1:0",
    "--set=logic.http.bind=127.0.0.1:0",
    "--set=logic.rpc.bind=127.0.0.1:0",
    "--set=comet.server=comet-test",
    "--set=log.format=json",
    "--banner",
];

/// A child that is killed when the test ends.
pub(crate) struct Halley {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

/// What a child writes, line by line.
pub(crate) struct Lines {
    receiver: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

/// How a child ended and what it wrote until then.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Where a server listens, as it says itself.
pub(crate) struct Listening(Vec<String>);

impl Halley {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = unconfigured(env!("CARGO_BIN_EXE_halley"))
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start halley");
        Self {
            stdin: child.stdin.take(),
            stdout: Lines::of(child.stdout.take().expect("piped")),
            stderr: Lines::of(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// Starts a server on free ports and waits until it says where it listens.
    pub(crate) fn serve(args: &[&str]) -> (Self, Listening) {
        let mut halley = Self::start(&[args, &FREE_PORTS].concat());
        let listening = halley.listening();
        (halley, listening)
    }

    fn listening(&mut self) -> Listening {
        let mut lines = Vec::new();
        self.stdout.wait_for("is up");
        while let Some(line) = self.stdout.next().filter(|line| !line.is_empty()) {
            lines.push(line);
        }
        Listening(lines)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("send signal");
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until the end");
        writeln!(stdin, "{line}").expect("type");
    }

    /// Waits for the end of the child, which must come by itself.
    pub(crate) fn end(mut self) -> Ended {
        // Both end when the child does.
        self.stdout.rest();
        self.stderr.rest();
        let status: ExitStatus = self.child.wait().expect("wait for halley");
        Ended {
            code: status.code(),
            stdout: self.stdout.seen.join("\n"),
            stderr: self.stderr.seen.join("\n"),
        }
    }
}

impl Drop for Halley {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            receiver,
            seen: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.next_before(Instant::now() + PATIENCE)
    }

    fn next_before(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more after: {:#?}", self.seen),
        }
    }

    /// Reads up to the first line that contains the text.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_before(deadline) {
            if line.contains(text) {
                return line;
            }
        }
        panic!("{text:?} is not in: {:#?}", self.seen)
    }

    fn rest(&mut self) {
        while self.next().is_some() {}
    }
}

impl Listening {
    /// The address after this name.
    pub(crate) fn at(&self, name: &str) -> String {
        self.0
            .iter()
            .find_map(|line| line.trim_start().strip_prefix(name))
            .unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
            .trim()
            .to_owned()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        let url = self.at("http ");
        url.trim_start_matches("http://")
            .parse()
            .expect("an address")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        let url = self.at("admin ");
        url.trim_start_matches("http://")
            .trim_end_matches("/readyz")
            .parse()
            .expect("an address")
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        let url = self.at("tcp ");
        url.trim_start_matches("tcp://")
            .parse()
            .expect("an address")
    }
}

/// Asks over HTTP and returns the whole answer.
pub(crate) fn http(address: SocketAddr, method: &str, target: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    answer
}

/// Pushes to `live://1000`, as the line to try does.
pub(crate) fn push(address: SocketAddr, body: &str) {
    let target = "/goim/push/room?operation=1000&type=live&room=1000";
    let answer = http(address, "POST", target, body);
    assert!(answer.contains(r#""code":0"#), "{answer}");
}
