//! A logic node on loopback with a push log and sessions that do as told, and
//! an HTTP client that sees every byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{PublishError, PushLog, SubscribeError, Subscription};
use halley_backend::registry::Snapshot;
use halley_backend::sessions::{
    Binding, MemorySessions, MemorySessionsConfig, Sessions, SessionsError,
};
use halley_logic::{Config, Deps, Logic};
use halley_node::grpc::Trust;
use halley_node::{Readiness, SharedRegistry};
use halley_proto::goim::logic::logic_server;
use halley_proto::goim::logic::{OnlineReq, PushMsg};
use halley_proto::halley::node::{HotRoom, HotRooms, NodeStatus};
use halley_proto::metadata;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the push log does with the next records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum LogMood {
    #[default]
    Takes,
    Full(Duration),
    TooLarge,
    Closed,
    Unavailable,
    /// Takes them when told to.
    Hangs,
}

#[derive(Debug, Default)]
pub(crate) struct FakeLog {
    pub(crate) mood: Mutex<LogMood>,
    pub(crate) batches: Mutex<Vec<Vec<PushMsg>>>,
    pub(crate) go_on: Notify,
}

#[async_trait]
impl PushLog for FakeLog {
    async fn publish(&self, records: Vec<PushMsg>) -> Result<(), PublishError> {
        let mood = *self.mood.lock();
        if matches!(mood, LogMood::Hangs) {
            self.go_on.notified().await;
        }
        match mood {
            LogMood::Takes | LogMood::Hangs => {
                self.batches.lock().push(records);
                Ok(())
            }
            LogMood::Full(retry_after) => Err(PublishError::Full { retry_after }),
            LogMood::TooLarge => Err(PublishError::TooLarge {
                bytes: 9,
                records: records.len(),
            }),
            LogMood::Closed => Err(PublishError::Closed),
            LogMood::Unavailable => Err(PublishError::Unavailable("no broker".to_owned())),
        }
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, SubscribeError> {
        Err(SubscribeError::Unavailable("not in this test".to_owned()))
    }

    async fn close(&self) {}
}

/// Real sessions that can be cut off.
#[derive(Debug)]
pub(crate) struct FakeSessions {
    inner: MemorySessions,
    pub(crate) is_cut: Mutex<bool>,
}

impl FakeSessions {
    fn inner(&self) -> Result<&MemorySessions, SessionsError> {
        if *self.is_cut.lock() {
            Err(SessionsError::Unavailable("cut off".to_owned()))
        } else {
            Ok(&self.inner)
        }
    }
}

#[async_trait]
impl Sessions for FakeSessions {
    async fn bind(&self, binding: Binding) -> Result<(), SessionsError> {
        self.inner()?.bind(binding).await
    }

    async fn renew(&self, binding: Binding) -> Result<(), SessionsError> {
        self.inner()?.renew(binding).await
    }

    async fn unbind_if(
        &self,
        mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, SessionsError> {
        self.inner()?.unbind_if(mid, key, server, connection).await
    }

    async fn of_keys(&self, keys: &[String]) -> Result<Vec<Option<Arc<str>>>, SessionsError> {
        self.inner()?.of_keys(keys).await
    }

    async fn of_mids(&self, mids: &[i64]) -> Result<Vec<Vec<(String, Arc<str>)>>, SessionsError> {
        self.inner()?.of_mids(mids).await
    }

    async fn set_online(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<(), SessionsError> {
        self.inner()?.set_online(server, rooms).await
    }

    async fn online(&self) -> Result<HashMap<String, i32>, SessionsError> {
        self.inner()?.online().await
    }

    async fn epoch(&self) -> Result<Option<u64>, SessionsError> {
        self.inner()?.epoch().await
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Harness {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<FakeLog>,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) service: Arc<dyn logic_server::Logic>,
    /// Cancelled, it makes the node refuse pushes.
    pub(crate) drain: CancellationToken,
}

impl Harness {
    pub(crate) fn start(configure: impl FnOnce(&mut Config)) -> Self {
        Self::start_among(None, configure)
    }

    /// A node whose registry lists `comets`.
    pub(crate) fn start_among(
        comets: Option<watch::Receiver<Snapshot>>,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::default();
        config.http.bind = "127.0.0.1:0".parse().unwrap();
        config.rpc.bind = "127.0.0.1:0".parse().unwrap();
        configure(&mut config);
        let log = Arc::new(FakeLog::default());
        let sessions = Arc::new(FakeSessions {
            inner: MemorySessions::new(MemorySessionsConfig::default()),
            is_cut: Mutex::default(),
        });
        let logic = Logic::build(
            config,
            Deps {
                push_log: Arc::clone(&log) as Arc<dyn PushLog>,
                push_log_service: None,
                kafka: None,
                trust: Trust::default(),
                sessions: Arc::clone(&sessions) as Arc<dyn Sessions>,
                comets,
                dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
                registry: SharedRegistry::default(),
                readiness: Readiness::default(),
            },
        )
        .unwrap();
        let address = logic.addresses().http;
        let service = logic.service();
        let stages = logic.spawn();
        let drain = stages.push.drain.clone();
        let tasks = TaskTracker::new();
        tasks.spawn(stages.push.done);
        tasks.spawn(stages.rest.done);
        Self {
            address,
            log,
            sessions,
            service,
            drain,
        }
    }

    pub(crate) async fn bind(&self, mid: i64, key: &str, server: &str) {
        let binding = Binding {
            mid,
            key: key.to_owned(),
            server: server.to_owned(),
            connection: 1,
        };
        self.sessions.bind(binding).await.unwrap();
    }

    /// Tells logic of a comet as the comet does.
    pub(crate) async fn renew(&self, status: &NodeStatus, rooms: &[(&str, i32)]) {
        let mut request = tonic::Request::new(OnlineReq {
            server: status.hostname.clone(),
            room_count: rooms
                .iter()
                .map(|&(room, count)| (room.to_owned(), count))
                .collect(),
        });
        metadata::set_node(request.metadata_mut(), status);
        self.service.renew_online(request).await.unwrap();
    }

    /// Tells logic of a comet's hot rooms as the comet does.
    pub(crate) async fn heat(&self, server: &str, rooms: &[HotRoom]) {
        let mut request = tonic::Request::new(OnlineReq {
            server: server.to_owned(),
            ..OnlineReq::default()
        });
        let rooms = rooms.to_vec();
        metadata::set_hot_rooms(request.metadata_mut(), &HotRooms { rooms });
        self.service.renew_online(request).await.unwrap();
    }

    pub(crate) async fn send(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.send_with(method, target, "", body).await
    }

    /// Sends one request; `headers` are whole lines.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// Sends `request` as it is and reads until the server closes.
    pub(crate) async fn exchange(&self, request: &[u8]) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let mut answer = Vec::new();
            // As many clients do: nothing is read before everything is sent.
            stream.write_all(request).await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("the server answers and closes");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Everything published since the last call, in one list per push.
    pub(crate) fn published(&self) -> Vec<Vec<PushMsg>> {
        std::mem::take(&mut self.log.batches.lock())
    }
}
