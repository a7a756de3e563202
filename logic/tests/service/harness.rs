//! A logic node on loopback, a client of its service, and sessions that can be
//! made to fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{
    MemoryConfig, MemoryPushLog, PushLog, PushLogService, ServiceConfig,
};
use halley_backend::sessions::{
    Binding, MemorySessions, MemorySessionsConfig, Sessions, SessionsError,
};
use halley_logic::{Addresses, Config, Deps, Logic};
use halley_node::grpc::Trust;
use halley_node::{DrainOutcome, Readiness, SharedRegistry, encode};
use halley_proto::goim::logic::logic_client::LogicClient;
use halley_proto::goim::logic::{ConnectReply, ConnectReq, DisconnectReq, HeartbeatReq};
use halley_proto::halley::node::NodeStatus;
use halley_proto::metadata;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the sessions do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Mood {
    #[default]
    Work,
    Fail,
    Hang,
}

#[derive(Debug)]
pub(crate) struct MoodySessions {
    inner: MemorySessions,
    pub(crate) mood: Mutex<Mood>,
    pub(crate) epoch: Mutex<Option<u64>>,
    /// A permit for each call that hangs.
    pub(crate) hanging: Semaphore,
    /// Lets one of them go on.
    pub(crate) released: Notify,
}

impl MoodySessions {
    async fn inner(&self) -> Result<&MemorySessions, SessionsError> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Work => Ok(&self.inner),
            Mood::Fail => Err(SessionsError::Unavailable("cut off".to_owned())),
            Mood::Hang => {
                self.hanging.add_permits(1);
                self.released.notified().await;
                Ok(&self.inner)
            }
        }
    }
}

#[async_trait]
impl Sessions for MoodySessions {
    async fn bind(&self, binding: Binding) -> Result<(), SessionsError> {
        self.inner().await?.bind(binding).await
    }

    async fn renew(&self, binding: Binding) -> Result<(), SessionsError> {
        self.inner().await?.renew(binding).await
    }

    async fn unbind_if(
        &self,
        mid: i64,
        key: &str,
        server: &str,
        connection: Option<u64>,
    ) -> Result<bool, SessionsError> {
        let inner = self.inner().await?;
        inner.unbind_if(mid, key, server, connection).await
    }

    async fn of_keys(&self, keys: &[String]) -> Result<Vec<Option<Arc<str>>>, SessionsError> {
        self.inner().await?.of_keys(keys).await
    }

    async fn of_mids(&self, mids: &[i64]) -> Result<Vec<Vec<(String, Arc<str>)>>, SessionsError> {
        self.inner().await?.of_mids(mids).await
    }

    async fn set_online(
        &self,
        server: &str,
        rooms: HashMap<String, i32>,
    ) -> Result<(), SessionsError> {
        self.inner().await?.set_online(server, rooms).await
    }

    async fn online(&self) -> Result<HashMap<String, i32>, SessionsError> {
        self.inner().await?.online().await
    }

    async fn epoch(&self) -> Result<Option<u64>, SessionsError> {
        self.inner().await?;
        Ok(*self.epoch.lock())
    }
}

/// A part of the node that drains on its own.
pub(crate) struct Part {
    pub(crate) drain: CancellationToken,
    pub(crate) now: CancellationToken,
    done: JoinHandle<anyhow::Result<DrainOutcome>>,
}

impl Part {
    fn start(stage: halley_node::Stage) -> Self {
        Self {
            drain: stage.drain,
            now: stage.now,
            done: TaskTracker::new().spawn(stage.done),
        }
    }

    /// Drains it to its end.
    pub(crate) async fn drain(self) -> DrainOutcome {
        self.drain.cancel();
        self.end().await
    }

    pub(crate) async fn end(self) -> DrainOutcome {
        timeout(PATIENCE, self.done)
            .await
            .expect("the part ends")
            .unwrap()
            .unwrap()
    }
}

pub(crate) struct Node {
    pub(crate) addresses: Addresses,
    pub(crate) sessions: Arc<MoodySessions>,
    pub(crate) registry: SharedRegistry,
    pub(crate) readiness: Readiness,
    /// What the node says of itself.
    pub(crate) status: watch::Receiver<NodeStatus>,
    pub(crate) push: Part,
    pub(crate) rest: Part,
}

/// The defaults on free ports.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.http.bind = "127.0.0.1:0".parse().unwrap();
    config.rpc.bind = "127.0.0.1:0".parse().unwrap();
    config
}

impl Node {
    pub(crate) fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        configure(&mut config);
        Self::build(config, false, Trust::default())
    }

    /// A node that lets only nodes call it.
    pub(crate) fn start_with_trust(trust: Trust) -> Self {
        Self::build(config(), false, trust)
    }

    /// A node with jobs in other processes.
    pub(crate) fn start_with_jobs_elsewhere() -> Self {
        Self::build(config(), true, Trust::default())
    }

    fn build(config: Config, serves_log: bool, trust: Trust) -> Self {
        let sessions = Arc::new(MoodySessions {
            inner: MemorySessions::new(MemorySessionsConfig::default()),
            mood: Mutex::default(),
            epoch: Mutex::default(),
            hanging: Semaphore::new(0),
            released: Notify::new(),
        });
        let registry = SharedRegistry::default();
        let readiness = Readiness::default();
        let push_log = Arc::new(MemoryPushLog::new(MemoryConfig::default()));
        let service = PushLogService::new(
            Arc::clone(&push_log) as Arc<dyn PushLog>,
            ServiceConfig::default(),
        );
        let logic = Logic::build(
            config,
            Deps {
                push_log,
                push_log_service: serves_log.then(|| service.into_server()),
                kafka: None,
                trust,
                sessions: Arc::clone(&sessions) as Arc<dyn Sessions>,
                comets: None,
                dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
                registry: Arc::clone(&registry),
                readiness: readiness.clone(),
            },
        )
        .unwrap();
        let addresses = logic.addresses();
        let status = logic.status();
        let stages = logic.spawn();
        Self {
            addresses,
            sessions,
            registry,
            readiness,
            status,
            push: Part::start(stages.push),
            rest: Part::start(stages.rest),
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::try_from(format!("http://{}", self.addresses.grpc)).unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client(LogicClient::new(self.endpoint().connect().await.unwrap()))
    }

    /// The server that a key is bound to.
    pub(crate) async fn server_of(&self, key: &str) -> Option<String> {
        let servers = self.sessions.of_keys(&[key.to_owned()]).await.unwrap();
        servers[0].as_deref().map(str::to_owned)
    }

    /// Sends a request as it is and reads until the node closes.
    pub(crate) async fn http(&self, request: &str) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.addresses.http).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        timeout(PATIENCE, exchange).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    /// The value of a sample such as `name_total{label="value"}`; 0 when there
    /// is none.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        encode(&self.registry)
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
            .map_or(0, |value| value.parse().unwrap())
    }
}

/// A comet, as far as logic sees.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) LogicClient<Channel>);

impl Client {
    pub(crate) async fn connect(
        &mut self,
        server: &str,
        connection: Option<u64>,
        token: &str,
    ) -> Result<Response<ConnectReply>, Status> {
        let mut request = Request::new(ConnectReq {
            server: server.to_owned(),
            cookie: String::new(),
            token: token.to_owned().into(),
        });
        if let Some(connection) = connection {
            metadata::set_connection(request.metadata_mut(), connection);
        }
        self.0.connect(request).await
    }

    pub(crate) async fn refresh(&mut self, token: &str) -> Result<Response<ConnectReply>, Status> {
        let mut request = Request::new(ConnectReq {
            server: "comet-1".to_owned(),
            cookie: String::new(),
            token: token.to_owned().into(),
        });
        metadata::set_refresh(request.metadata_mut());
        self.0.connect(request).await
    }

    pub(crate) async fn disconnect(
        &mut self,
        server: &str,
        connection: Option<u64>,
        mid: i64,
        key: &str,
    ) -> Result<bool, Status> {
        let mut request = Request::new(DisconnectReq {
            mid,
            key: key.to_owned(),
            server: server.to_owned(),
        });
        if let Some(connection) = connection {
            metadata::set_connection(request.metadata_mut(), connection);
        }
        Ok(self.0.disconnect(request).await?.into_inner().has)
    }

    pub(crate) async fn heartbeat(
        &mut self,
        server: &str,
        connection: u64,
        mid: i64,
        key: &str,
    ) -> Result<(), Status> {
        let mut request = Request::new(HeartbeatReq {
            mid,
            key: key.to_owned(),
            server: server.to_owned(),
        });
        metadata::set_connection(request.metadata_mut(), connection);
        self.0.heartbeat(request).await.map(drop)
    }
}
