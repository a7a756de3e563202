//! `halley connect`: a client in the terminal.
//!
//! What is pushed is printed as `operation body`, one line each, and what
//! happens to the connection as lines that begin with `#`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use halley_client::{Client, ConnectionOptions, Endpoint, Event, Options, Servers, TlsOptions};
use halley_node::Signals;
use halley_wire::{AuthBody, BODY_BYTES_MAX_DEFAULT, Op};
use humantime_serde::re::humantime;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};

use super::token;
use crate::process;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// tcp://, tls://, ws:// or wss://host:port of a comet
    #[arg(value_name = "URL", default_value = "tcp://127.0.0.1:3101")]
    url: Endpoint,
    #[arg(
        long,
        short,
        default_value = "",
        help = "Room to join, in full, such as live://1000"
    )]
    room: String,
    /// The user; 0 is a stranger
    #[arg(long, default_value_t = 0)]
    mid: i64,
    /// Name of the connection; without it the server chooses one
    #[arg(long, default_value = "")]
    key: String,
    /// Operations to receive
    #[arg(
        long,
        value_name = "OP,…",
        value_delimiter = ',',
        default_value = "1000"
    )]
    accepts: Vec<i32>,
    /// Free text that logic is told
    #[arg(long, default_value = "halley")]
    platform: String,
    /// Token to log in with
    #[arg(long, env = token::VARIABLE, hide_env_values = true)]
    token: Option<String>,
    /// File with the certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Time between heartbeats, whose answers carry the online count
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    heartbeat: Duration,
    /// End after this many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
}

/// Typed lines end here at the latest: servers take no longer bodies.
const LINE_BYTES_MAX: usize = BODY_BYTES_MAX_DEFAULT;

/// Stays connected until a signal comes or `--count` is reached.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    process::block_on(async {
        let mut signals = Signals::system()?;
        let mut terminal = Terminal {
            room: args.room.clone(),
            online: None,
            left: args.count,
            stdout: tokio::io::stdout(),
        };
        let (client, mut events) = Client::start(options(args)?);
        let mut lines = Lines::new(BufReader::new(tokio::io::stdin()));
        let mut typing = true;
        while !terminal.is_done() {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => terminal.show(event).await?,
                    None => break,
                },
                line = lines.next(), if typing => match line? {
                    Some(line) => terminal.send(&client, line).await?,
                    None => typing = false,
                },
                _ = signals.next() => break,
            }
        }
        client.close().await;
        Ok(())
    })
}

fn options(args: Args) -> anyhow::Result<Options> {
    let tls = match &args.ca {
        Some(file) => TlsOptions::trust_file(file).context("--ca")?,
        None => TlsOptions::default(),
    };
    let auth = AuthBody {
        mid: args.mid,
        key: args.key,
        room_id: args.room,
        platform: args.platform,
        accepts: args.accepts,
        token: args.token,
    };
    Ok(Options {
        connection: ConnectionOptions {
            tls,
            ..ConnectionOptions::default()
        },
        heartbeat: Some(args.heartbeat),
        ..Options::new(Servers::Fixed(vec![args.url]), auth)
    })
}

/// What is typed, line by line.
struct Lines<R> {
    input: R,
    /// The line that is not complete yet.
    partial: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    fn new(input: R) -> Self {
        let partial = Vec::new();
        Self { input, partial }
    }

    /// The next line, without its end; `None` when there are no more.
    ///
    /// # Cancel safety
    ///
    /// What was read of a line is kept for the next call.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
        (&mut self.input)
            .take(u64::try_from(room).unwrap_or(u64::MAX))
            .read_until(b'\n', &mut self.partial)
            .await
            .context("read standard input")?;
        if self.partial.is_empty() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.partial);
        line.truncate(line.trim_ascii_end().len());
        Ok(Some(line))
    }
}

struct Terminal {
    room: String,
    online: Option<i32>,
    /// Messages until the end.
    left: Option<u64>,
    stdout: tokio::io::Stdout,
}

impl Terminal {
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    async fn show(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Connected { endpoint } => {
                self.online = None;
                self.print(&format!("# connected to {endpoint}")).await
            }
            Event::Message { op, body } => {
                self.left = self.left.map(|left| left.saturating_sub(1));
                let line = format!("{} {}", op.0, printable(&body));
                self.print(&line).await
            }
            Event::Online(count) if self.online != Some(count) && !self.room.is_empty() => {
                self.online = Some(count);
                let line = format!("# {count} online in {}", self.room);
                self.print(&line).await
            }
            Event::Disconnected { reason, retry_in } => {
                let then = retry_in.map_or_else(String::new, |pause| {
                    format!(", trying again in {:.1} s", pause.as_secs_f32())
                });
                self.print(&format!("# {reason}{then}")).await
            }
            Event::Online(_) | _ => Ok(()),
        }
    }

    async fn send(&mut self, client: &Client, line: Vec<u8>) -> anyhow::Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        match client.send(Op::SEND, line).await {
            Ok(()) => Ok(()),
            Err(error) => self.print(&format!("# not sent: {error}")).await,
        }
    }

    async fn print(&mut self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line}\n");
        self.stdout.write_all(line.as_bytes()).await?;
        self.stdout.flush().await?;
        Ok(())
    }
}

/// What others send must not steer the terminal.
fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars()
        .fold(String::with_capacity(text.len()), |mut line, char| {
            if char.is_control() {
                line.extend(char.escape_default());
            } else {
                line.push(char);
            }
            line
        })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, BufReader};

    use super::{LINE_BYTES_MAX, Lines, printable};

    #[test]
    fn bodies_stay_on_their_line_and_cannot_steer_the_terminal() {
        assert_eq!(printable("grüß dich".as_bytes()), "grüß dich");
        assert_eq!(printable(b"a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(printable(b"\xff!"), "\u{fffd}!");
    }

    #[tokio::test]
    async fn lines_are_read_without_their_ends() {
        let mut input = Lines::new(&b"one\r\n\ntwo"[..]);
        let mut lines = Vec::new();
        while let Some(line) = input.next().await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two"]);
    }

    #[tokio::test]
    async fn half_a_line_is_kept_while_something_else_happens() {
        let (mut keyboard, input) = tokio::io::duplex(64);
        let mut input = Lines::new(BufReader::new(input));

        keyboard.write_all(b"hel").await.unwrap();
        tokio::select! {
            biased;
            line = input.next() => panic!("{line:?} is no line"),
            () = std::future::ready(()) => {}
        }
        keyboard.write_all(b"lo\n").await.unwrap();

        assert_eq!(input.next().await.unwrap(), Some(b"hello".to_vec()));
    }

    #[tokio::test]
    async fn a_long_line_is_sent_in_parts() {
        let text = vec![b'x'; LINE_BYTES_MAX + 1];
        let mut input = Lines::new(&text[..]);

        assert_eq!(input.next().await.unwrap().unwrap().len(), LINE_BYTES_MAX);
        assert_eq!(input.next().await.unwrap().unwrap().len(), 1);
        assert_eq!(input.next().await.unwrap(), None);
    }
}
