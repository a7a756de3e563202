//! The backend: pushes at a steady rate and does not give up on a push before
//! it knows whether it was accepted.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{OPERATION, Options, key_of, room_name};

/// Users are dealt among so many senders; each has one push under way.
const SENDERS: usize = 8;
/// How long one attempt may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Time after which a push that nobody answered is given up.
const GIVE_UP: Duration = Duration::from_mins(1);
/// Pause before the next logic is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pusher {
    /// By user.
    pub(super) users: Vec<Arc<Mutex<Vec<Push>>>>,
    /// By room.
    pub(super) rooms: Vec<Arc<Mutex<Vec<Push>>>>,
    senders: TaskTracker,
}

/// A push; its number is its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Push {
    /// When it was sent first.
    pub(super) sent: Instant,
    pub(super) answer: Answer,
    /// When it was answered; until then when it was sent.
    pub(super) answered: Instant,
}

/// How a push was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not yet.
    Pending,
    Accepted,
    /// Its user has no connection.
    Offline,
    /// Not taken, whatever was tried.
    Refused,
    /// Nobody said.
    Unknown,
}

/// Who is pushed to.
struct Target {
    /// Path and query of the push.
    query: String,
    /// First word of the message.
    kind: &'static str,
    log: Arc<Mutex<Vec<Push>>>,
}

struct Sender {
    client: reqwest::Client,
    urls: Vec<String>,
    /// The logic that answered last.
    current: usize,
    run: String,
}

impl Pusher {
    pub(super) fn start(
        options: &Options,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let logs = |count| (0..count).map(|_| Arc::default()).collect::<Vec<_>>();
        let pusher = Self {
            users: logs(options.users),
            rooms: logs(options.rooms),
            senders: TaskTracker::new(),
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_MAX)
            .build()?;
        let sender = |current| Sender {
            client: client.clone(),
            urls: options
                .http
                .iter()
                .map(|address| format!("http://{address}/goim/push"))
                .collect(),
            current: current % options.http.len(),
            run: options.run.clone(),
        };
        let user_period = Duration::from_secs(1) * u32::try_from(SENDERS)?
            / options.user_pushes_per_second.max(1);
        for number in 0..SENDERS.min(options.users) {
            let targets = (number..options.users).step_by(SENDERS);
            let targets = targets
                .map(|user| {
                    let query = format!("keys?keys={}", key_of(&options.run, user));
                    Target {
                        query,
                        kind: "user",
                        log: Arc::clone(&pusher.users[user]),
                    }
                })
                .collect();
            let pushing = sender(number).run(targets, user_period, stop.clone());
            tasks.spawn(pusher.senders.track_future(pushing));
        }
        let room_period = Duration::from_secs(1) / options.room_pushes_per_second.max(1);
        for room in 0..options.rooms {
            let query = format!("room?type=live&room={}", room_name(&options.run, room));
            let target = Target {
                query,
                kind: "room",
                log: Arc::clone(&pusher.rooms[room]),
            };
            let pushing = sender(room).run(vec![target], room_period, stop.clone());
            tasks.spawn(pusher.senders.track_future(pushing));
        }
        pusher.senders.close();
        Ok(pusher)
    }

    /// Returns when the last push has its answer.
    pub(super) async fn stopped(&self) {
        self.senders.wait().await;
    }
}

impl Sender {
    async fn run(mut self, targets: Vec<Target>, period: Duration, stop: CancellationToken) {
        let mut period = interval(period);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for Target { query, kind, log } in targets.iter().cycle() {
            tokio::select! {
                _ = period.tick() => {}
                () = stop.cancelled() => return,
            }
            let sent = Instant::now();
            let number = {
                let mut log = log.lock();
                log.push(Push {
                    sent,
                    answer: Answer::Pending,
                    answered: sent,
                });
                log.len() - 1
            };
            let answer = self.push(query, format!("{kind} {number}"), sent).await;
            let push = &mut log.lock()[number];
            (push.answer, push.answered) = (answer, Instant::now());
        }
    }

    /// Tries again, with the same key, until someone knows.
    async fn push(&mut self, query: &str, body: String, sent: Instant) -> Answer {
        let idempotency_key = format!("{} {query} {body}", self.run);
        let mut nobody_knows = false;
        while sent.elapsed() < GIVE_UP {
            let url = format!(
                "{}/{query}&operation={OPERATION}&receipt=1",
                self.urls[self.current]
            );
            let request = self
                .client
                .post(url)
                .header("Idempotency-Key", idempotency_key.replace(' ', "_"))
                .body(body.clone());
            match request.send().await {
                Ok(response) if response.status() == StatusCode::OK => {
                    let answer: Result<Value, _> = response.json().await;
                    match answer {
                        Ok(answer) if answer["code"] == 0 => {
                            let accepted = answer["data"]["accepted"] != 0;
                            return if accepted {
                                Answer::Accepted
                            } else {
                                Answer::Offline
                            };
                        }
                        // goim's answer to a failure of the system.
                        Ok(_) => {}
                        Err(_) => nobody_knows = true,
                    }
                }
                Ok(response)
                    if response.status().is_client_error()
                        && response.status() != StatusCode::CONFLICT =>
                {
                    return Answer::Refused;
                }
                Ok(_) => {}
                Err(error) => nobody_knows |= !error.is_connect(),
            }
            self.current = (self.current + 1) % self.urls.len();
            sleep(RETRY_PAUSE).await;
        }
        if nobody_knows {
            Answer::Unknown
        } else {
            Answer::Refused
        }
    }
}
