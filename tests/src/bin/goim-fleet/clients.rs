//! The clients of a fleet, and what they received.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use halley_client::{Client, Event, Events, Options, Servers};
use halley_wire::AuthBody;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// The operation of every push.
pub(crate) const OPERATION: i32 = 1000;
/// How long anything may take until a client sees it.
const PATIENCE: Duration = Duration::from_secs(15);
/// goim's counts are up to three rounds of ten seconds old.
pub(crate) const COUNTS_MAX: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A client that stays online.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    is_connected: bool,
    online: Option<i32>,
    messages: Vec<String>,
}

impl Member {
    pub(crate) fn start(
        transport: &str,
        address: SocketAddr,
        mid: i64,
        key: &str,
        room: &str,
    ) -> anyhow::Result<Self> {
        let auth = AuthBody {
            mid,
            key: key.to_owned(),
            room_id: room.to_owned(),
            accepts: vec![OPERATION],
            ..AuthBody::default()
        };
        let url = format!("{transport}://{address}").parse()?;
        let mut options = Options::new(Servers::Fixed(vec![url]), auth);
        options.heartbeat = Some(Duration::from_secs(1));
        let (client, events) = Client::start(options);
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio_util::task::TaskTracker::new().spawn(keep(Arc::clone(&seen), events));
        Ok(Self { client, seen })
    }

    pub(crate) async fn is_connected(&self) -> anyhow::Result<()> {
        self.wait(|seen| seen.is_connected)
            .await
            .context("no connection")
    }

    /// Waits until the answers to heartbeats say so many.
    pub(crate) async fn counts(&self, online: i32) -> anyhow::Result<()> {
        self.wait_for(COUNTS_MAX, |seen| seen.online == Some(online))
            .await
            .with_context(|| format!("{:?} online, expected {online}", self.seen.lock().online))
    }

    pub(crate) async fn received(&self, body: &str) -> anyhow::Result<()> {
        self.wait(|seen| seen.messages.iter().any(|message| message == body))
            .await
            .with_context(|| format!("{body:?} did not come"))
    }

    pub(crate) fn has(&self, body: &str) -> bool {
        self.seen.lock().messages.iter().any(|seen| seen == body)
    }

    /// The messages so far that begin so.
    pub(crate) fn messages(&self, prefix: &str) -> Vec<String> {
        let seen = self.seen.lock();
        let messages = seen.messages.iter();
        messages
            .filter(|message| message.starts_with(prefix))
            .cloned()
            .collect()
    }

    async fn wait(&self, is_met: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        self.wait_for(PATIENCE, is_met).await
    }

    async fn wait_for(
        &self,
        patience: Duration,
        is_met: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while !is_met(&self.seen.lock()) {
            anyhow::ensure!(Instant::now() < until, "waited for {patience:?}");
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

async fn keep(seen: Arc<Mutex<Seen>>, mut events: Events) {
    while let Some(event) = events.recv().await {
        let mut seen = seen.lock();
        match event {
            Event::Connected { .. } => seen.is_connected = true,
            Event::Disconnected { .. } => seen.is_connected = false,
            Event::Online(count) => seen.online = Some(count),
            Event::Message { body, .. } => {
                seen.messages
                    .push(String::from_utf8_lossy(&body).into_owned());
            }
            _ => {}
        }
    }
}
