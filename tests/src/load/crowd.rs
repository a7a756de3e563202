//! The clients: each keeps coming back, and remembers what arrived and when it
//! had a connection.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use halley_client::{Backoff, Client, Event, Events, Options as ClientOptions, Servers, Transport};
use halley_wire::AuthBody;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::{OPERATION, Options, key_of, room_name};

/// How long everyone together may take to get in.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Clients of a phone app wait longer; here the gap is what is measured.
const RECONNECT: Backoff = Backoff {
    max_delay: 1.0,
    base_delay: 0.1,
    factor: 1.8,
    jitter: 0.5,
};
/// Time between two looks at who is in.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const MINUTE: Duration = Duration::from_mins(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Crowd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    client: Client,
    diary: Arc<Mutex<Diary>>,
}

/// What a client lived through.
#[derive(Clone, Debug, Default)]
pub(super) struct Diary {
    /// Connections, the last one open.
    pub(super) connections: Vec<(Instant, Option<Instant>)>,
    /// Attempts to connect that failed.
    pub(super) failures: Vec<Instant>,
    /// Numbers of the pushes to the user alone, as they came.
    pub(super) alone: Vec<u32>,
    /// Numbers of the pushes to the room, as they came.
    pub(super) room: Vec<u32>,
    /// Messages that were none of this run's.
    pub(super) foreign: u32,
}

impl Crowd {
    pub(super) async fn connect(options: &Options, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let mut members = Vec::with_capacity(options.users);
        for user in 0..options.users {
            members.push(Member::start(options, user, tasks)?);
        }
        let crowd = Self { members };
        let all_in = async {
            while !crowd.diaries().all(|diary| diary.is_connected()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        timeout(CONNECT_MAX, all_in)
            .await
            .context("not every client got in")?;
        Ok(crowd)
    }

    /// What every client lived through so far, by the number of the user.
    pub(super) fn diaries(&self) -> impl Iterator<Item = Diary> {
        self.members
            .iter()
            .map(|member| member.diary.lock().clone())
    }

    pub(super) fn worst_connect_rate(&self, from: Instant) -> f64 {
        let mut succeeded = Vec::new();
        let mut failed = Vec::new();
        for diary in self.diaries() {
            succeeded.extend(diary.connections.iter().map(|(start, _)| *start));
            failed.extend(diary.failures);
        }
        let minute = |at: &Instant| at.saturating_duration_since(from).as_secs() / MINUTE.as_secs();
        let of = |attempts: &[Instant], number| {
            let attempts = attempts.iter().filter(|at| **at >= from);
            u32::try_from(attempts.filter(|at| minute(at) == number).count()).unwrap_or(u32::MAX)
        };
        (0..=minute(&Instant::now()))
            .filter_map(|number| {
                let (good, bad) = (of(&succeeded, number), of(&failed, number));
                (good + bad > 0).then(|| f64::from(good) / f64::from(good + bad))
            })
            .fold(1.0, f64::min)
    }

    pub(super) async fn close(&self) {
        for member in &self.members {
            member.client.close().await;
        }
    }
}

impl Member {
    fn start(options: &Options, user: usize, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let transports = [Transport::Tcp, Transport::Websocket];
        let servers = Servers::Nodes {
            base_url: format!("http://{}", options.http[user % options.http.len()]),
            transport: transports[user / 2 % transports.len()],
            platform: "app".to_owned(),
        };
        let auth = AuthBody {
            mid: i64::try_from(user)? + 1,
            key: key_of(&options.run, user),
            room_id: format!("live://{}", room_name(&options.run, user % options.rooms)),
            accepts: vec![OPERATION],
            ..AuthBody::default()
        };
        let mut settings = ClientOptions::new(servers, auth);
        settings.heartbeat = Some(Duration::from_secs(10));
        settings.backoff = Some(RECONNECT);
        let (client, events) = Client::start(settings);
        let diary = Arc::new(Mutex::new(Diary::default()));
        tasks.spawn(keep(Arc::clone(&diary), events));
        Ok(Self { client, diary })
    }
}

async fn keep(diary: Arc<Mutex<Diary>>, mut events: Events) {
    while let Some(event) = events.recv().await {
        let now = Instant::now();
        let mut diary = diary.lock();
        match event {
            Event::Connected { .. } => diary.connections.push((now, None)),
            Event::Disconnected { .. } => match diary.connections.last_mut() {
                Some((_, end @ None)) => *end = Some(now),
                _ => diary.failures.push(now),
            },
            Event::Message { body, .. } => diary.receive(&body),
            Event::Online(_) | _ => {}
        }
    }
}

impl Diary {
    fn is_connected(&self) -> bool {
        matches!(self.connections.last(), Some((_, None)))
    }

    fn receive(&mut self, body: &[u8]) {
        let parsed = std::str::from_utf8(body)
            .ok()
            .and_then(|text| text.split_once(' '))
            .and_then(|(kind, number)| Some((kind, number.parse().ok()?)));
        match parsed {
            Some(("user", number)) => self.alone.push(number),
            Some(("room", number)) => self.room.push(number),
            _ => self.foreign += 1,
        }
    }

    /// Whether the connection of that moment, if there was one, lasted until
    /// `until`.
    pub(super) fn was_connected(&self, from: Instant, until: Instant) -> bool {
        self.connections
            .iter()
            .any(|(start, end)| *start <= from && end.is_none_or(|end| end >= until))
    }
}
