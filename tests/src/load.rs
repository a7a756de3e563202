//! Keeps a cluster busy with pushes to single users and to rooms, and says of
//! every accepted push what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use account::Account;
pub use counts::Counts;

use crowd::Crowd;
use pusher::Pusher;

mod account;
mod counts;
mod crowd;
mod pusher;

/// The operation of every push.
const OPERATION: i32 = 1000;

/// How much load, and on whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells the keys and rooms of one run from those of another.
    pub run: String,
    /// The logics: clients ask one of them where to connect; pushes go to
    /// them, and when one does not answer the next is tried.
    pub http: Vec<SocketAddr>,
    /// Clients, each with a key of its own.
    pub users: usize,
    /// Rooms, among which the clients are dealt.
    pub rooms: usize,
    /// Pushes to single users a second, all together.
    pub user_pushes_per_second: u32,
    /// Pushes to each room a second.
    pub room_pushes_per_second: u32,
    /// Age in which the system delivers a push or counts it as expired.
    pub push_deadline: Duration,
    /// How long after a push its receiver's connection has to last for it to be
    /// owed; the deadline where deliveries may wait.
    pub owed_after: Duration,
}

/// A load that is under way.
#[derive(Debug)]
pub struct Load {
    options: Options,
    crowd: Crowd,
    pusher: Pusher,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Load {
    /// Connects everyone, then starts to push.
    ///
    /// # Errors
    ///
    /// When a client does not get in.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let crowd = Crowd::connect(&options, &tasks).await?;
        let pusher = Pusher::start(&options, &tasks, &stop)?;
        Ok(Self {
            options,
            crowd,
            pusher,
            stop,
            tasks,
        })
    }

    /// Share of the attempts to connect that succeeded, in the worst minute
    /// since `from`; 1 when there were none.
    pub fn worst_connect_rate(&self, from: Instant) -> f64 {
        self.crowd.worst_connect_rate(from)
    }

    /// Ends the pushes, waits for what is still on its way, and accounts for
    /// all of them. `counts` is what the system says that it did not deliver.
    pub async fn finish(self, counts: &Counts) -> Account {
        self.stop.cancel();
        self.pusher.stopped().await;
        let until = Instant::now() + self.options.push_deadline + SETTLE_EXTRA;
        let account = loop {
            let account = Account::of(&self.options, &self.crowd, &self.pusher, counts);
            if account.is_settled() || Instant::now() >= until {
                break account;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        self.crowd.close().await;
        self.tasks.close();
        self.tasks.wait().await;
        account
    }
}

/// What may come later than the deadline: a count that is read, a retry.
const SETTLE_EXTRA: Duration = Duration::from_secs(5);
/// Time between two looks at what has arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The room with this number.
fn room_name(run: &str, room: usize) -> String {
    format!("{run}-{room}")
}

/// The key of the user with this number.
fn key_of(run: &str, user: usize) -> String {
    format!("{run}-{user}")
}
