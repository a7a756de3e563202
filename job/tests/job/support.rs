//! Comets that pretend, and a job that delivers to them.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use halley_backend::push_log::{MemoryConfig, MemoryPushLog, PushLog};
use halley_backend::registry::Snapshot;
use halley_job::{Comets, Config, Job, Peer, Remote};
use halley_node::{DrainOutcome, Readiness, Registry};
use halley_proto::goim::comet::comet_server::Comet;
use halley_proto::goim::comet::{
    BroadcastReply, BroadcastReq, BroadcastRoomReply, BroadcastRoomReq, PushMsgReply, PushMsgReq,
    RoomsReply, RoomsReq,
};
use halley_proto::goim::logic::PushMsg;
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::node::NodeStatus;
use halley_wire::raw;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use super::network::Network;
use super::stream_comet::StreamComet;

/// What a comet is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Keys(PushMsgReq),
    Room(BroadcastRoomReq),
    Everyone(BroadcastReq),
}

impl Asked {
    fn proto(&self) -> &Proto {
        let proto = match self {
            Self::Keys(request) => &request.proto,
            Self::Room(request) => &request.proto,
            Self::Everyone(request) => &request.proto,
        };
        proto.as_ref().unwrap()
    }

    /// The messages within.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let packets = raw::iter(&self.proto().body).map(|packet| packet.unwrap());
        packets
            .map(|packet| String::from_utf8(packet.body.to_vec()).unwrap())
            .collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.proto().body.len()
    }

    /// Whom it is for.
    pub(crate) fn targets(&self) -> Vec<String> {
        match self {
            Self::Keys(request) => request.keys.clone(),
            Self::Room(request) => vec![request.room_id.clone()],
            Self::Everyone(_) => vec!["everyone".to_owned()],
        }
    }
}

/// How a comet answers a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Taken,
    TakenAfter(Duration),
    Failed(Status),
    Never,
}

/// A call that a comet took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) started: Instant,
    pub(crate) asked: Asked,
    /// As gRPC writes the time that is left.
    pub(crate) timeout: Option<String>,
}

type Behaviour = Box<dyn Fn(usize, &Asked) -> Answer + Send + Sync>;

pub(crate) struct FakeComet {
    behaviour: Behaviour,
    calls: Mutex<usize>,
    taken: Mutex<Vec<Taken>>,
}

impl FakeComet {
    /// A comet that answers its n-th call as `behaviour` says.
    pub(crate) fn new(
        behaviour: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Box::new(behaviour),
            calls: Mutex::default(),
            taken: Mutex::default(),
        })
    }

    pub(crate) fn willing() -> Arc<Self> {
        Self::new(|_, _| Answer::Taken)
    }

    pub(crate) fn hung() -> Arc<Self> {
        Self::new(|_, _| Answer::Never)
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        *self.calls.lock()
    }

    /// All messages taken for a key, a room or everyone.
    pub(crate) fn bodies(&self, target: &str) -> Vec<String> {
        let taken = self.taken.lock();
        let of_target = |taken: &&Taken| taken.asked.targets().iter().any(|t| t == target);
        let bodies = taken.iter().filter(of_target).map(|t| t.asked.bodies());
        bodies.flatten().collect()
    }

    /// Checks that a target got these numbers, in their order.
    pub(crate) fn assert_got(&self, target: &str, numbers: std::ops::Range<usize>) {
        let bodies = self.bodies(target);
        let expected: Vec<_> = numbers.map(|number| number.to_string()).collect();
        let same = bodies
            .iter()
            .zip(&expected)
            .take_while(|(a, b)| a == b)
            .count();
        assert!(
            bodies == expected,
            "{target} got {} of {}, of which the first {same} are right",
            bodies.len(),
            expected.len()
        );
    }

    async fn answer<T>(&self, req: Request<T>, asked: fn(T) -> Asked) -> Result<(), Status> {
        let started = Instant::now();
        let timeout = req.metadata().get("grpc-timeout");
        let timeout = timeout.map(|text| text.to_str().expect("ASCII").to_owned());
        let asked = asked(req.into_inner());
        let number = {
            let mut calls = self.calls.lock();
            *calls += 1;
            *calls - 1
        };
        match (self.behaviour)(number, &asked) {
            Answer::Taken => {}
            Answer::TakenAfter(pause) => tokio::time::sleep(pause).await,
            Answer::Failed(status) => return Err(status),
            Answer::Never => std::future::pending().await,
        }
        self.taken.lock().push(Taken {
            started,
            asked,
            timeout,
        });
        Ok(())
    }
}

#[tonic::async_trait]
impl Comet for FakeComet {
    async fn push_msg(&self, req: Request<PushMsgReq>) -> Result<Response<PushMsgReply>, Status> {
        self.answer(req, Asked::Keys).await?;
        Ok(Response::new(PushMsgReply {}))
    }

    async fn broadcast(
        &self,
        req: Request<BroadcastReq>,
    ) -> Result<Response<BroadcastReply>, Status> {
        self.answer(req, Asked::Everyone).await?;
        Ok(Response::new(BroadcastReply {}))
    }

    async fn broadcast_room(
        &self,
        req: Request<BroadcastRoomReq>,
    ) -> Result<Response<BroadcastRoomReply>, Status> {
        self.answer(req, Asked::Room).await?;
        Ok(Response::new(BroadcastRoomReply {}))
    }

    async fn rooms(&self, _: Request<RoomsReq>) -> Result<Response<RoomsReply>, Status> {
        Err(Status::unimplemented("not asked by a job"))
    }
}

pub(crate) struct Running {
    pub(crate) log: MemoryPushLog,
    pub(crate) readiness: Readiness,
    pub(crate) drain: CancellationToken,
    pub(crate) now: CancellationToken,
    registry: Registry,
    done: JoinHandle<DrainOutcome>,
}

/// A job that delivers to `comets`, called comet-1, comet-2, …
pub(crate) fn start(config: Config, comets: &[&Arc<FakeComet>]) -> Running {
    start_with(config, local(comets))
}

/// Comets in the job's process.
pub(crate) fn local(comets: &[&Arc<FakeComet>]) -> Comets {
    let peers = comets.iter().zip(1..).map(|(comet, number)| Peer {
        server: format!("comet-{number}"),
        comet: Arc::clone(comet) as _,
    });
    Comets {
        local: peers.collect(),
        remote: None,
    }
}

pub(crate) fn start_with(config: Config, comets: Comets) -> Running {
    let log = MemoryPushLog::new(MemoryConfig::default());
    start_from(config, comets, Arc::new(log.clone()), log)
}

/// A job that reads `read`, which is some view of `log`.
pub(crate) fn start_from(
    config: Config,
    comets: Comets,
    read: Arc<dyn PushLog>,
    log: MemoryPushLog,
) -> Running {
    let mut registry = Registry::default();
    let readiness = Readiness::default();
    let job = Job::build(config, read, comets, &mut registry, &readiness);
    let stage = job.unwrap().spawn();
    let done = stage.done;
    Running {
        log,
        readiness,
        drain: stage.drain,
        now: stage.now,
        registry,
        done: TaskTracker::new().spawn(async { done.await.unwrap() }),
    }
}

/// The comets of other processes: where they are, and what the registry says.
pub(crate) struct Fleet {
    pub(crate) network: Network,
    nodes: watch::Sender<Snapshot>,
}

impl Fleet {
    /// One of which the registry does not speak yet.
    pub(crate) fn unknown() -> Self {
        Self {
            network: Network::default(),
            nodes: watch::Sender::new(None),
        }
    }

    /// Comets that are listed, each at the address of its name.
    pub(crate) fn of(comets: &[(&str, &StreamComet)]) -> Self {
        let fleet = Self::unknown();
        for (server, comet) in comets {
            fleet.network.serve(server, comet.services());
        }
        let servers: Vec<_> = comets.iter().map(|(server, _)| *server).collect();
        fleet.list_at_home(&servers);
        fleet
    }

    /// What the registry says from now on.
    pub(crate) fn list(&self, nodes: impl IntoIterator<Item = NodeStatus>) {
        let nodes: Vec<_> = nodes.into_iter().collect();
        self.nodes.send_replace(Some(nodes.into()));
    }

    /// Lists comets at the addresses of their names.
    pub(crate) fn list_at_home(&self, servers: &[&str]) {
        self.list(servers.iter().map(|server| node(server, server, 1)));
    }

    pub(crate) fn start(&self, config: Config) -> Running {
        self.start_beside(config, Vec::new())
    }

    /// A job with comets in its own process, too.
    pub(crate) fn start_beside(&self, config: Config, local: Vec<Peer>) -> Running {
        let network = self.network.clone();
        let dial = move |address: &str| Ok::<_, Infallible>(network.dial(address));
        let remote = Remote::new(self.nodes.subscribe(), dial);
        let comets = Comets {
            local,
            remote: Some(remote),
        };
        start_with(config, comets)
    }
}

pub(crate) fn node(server: &str, address: &str, started_ms: i64) -> NodeStatus {
    NodeStatus {
        hostname: server.to_owned(),
        grpc: address.to_owned(),
        started_ms,
        ..NodeStatus::default()
    }
}

/// Waits until something is so; time may pass meanwhile.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_hours(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to be");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Running {
    pub(crate) async fn publish(&self, records: impl IntoIterator<Item = PushMsg>) {
        let records = records.into_iter().collect();
        self.log.publish(records).await.unwrap();
    }

    /// Waits until the log has no unacknowledged record.
    pub(crate) async fn acknowledged(&self) {
        let hour = Duration::from_hours(1);
        tokio::time::timeout(hour, self.log.drained())
            .await
            .unwrap();
    }

    /// Drains the job as the process does and checks that the counts add up.
    pub(crate) async fn drained(self) -> (DrainOutcome, Counts) {
        self.log.close().await;
        self.drain.cancel();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> (DrainOutcome, Counts) {
        let hour = Duration::from_hours(1);
        let outcome = tokio::time::timeout(hour, self.done)
            .await
            .unwrap()
            .unwrap();
        let counts = Counts::of(&self.registry);
        assert_eq!(counts.pushes, counts.outcomes(), "{counts:?}");
        let left = (counts.pending, counts.queued, counts.in_flight);
        assert_eq!(left, (0, 0, 0), "{counts:?}");
        (outcome, counts)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(&self.registry)
    }
}

/// What the job says it did.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) pushes: u64,
    pub(crate) pending: u64,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    pub(crate) streams_opened: u64,
    pub(crate) streams_broken: u64,
    pub(crate) comets_by_calls: u64,
    pub(crate) delivered: u64,
    pub(crate) expired: u64,
    pub(crate) no_comet: u64,
    pub(crate) unknown_server: u64,
    pub(crate) no_member: u64,
    pub(crate) comet_left: u64,
    pub(crate) refused: u64,
    pub(crate) queue_full: u64,
    pub(crate) malformed: u64,
    pub(crate) returned: u64,
}

impl Counts {
    fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        let sum = |name: &str| -> u64 {
            let values = text.lines().filter_map(|line| {
                let value = line.strip_prefix("halley_job_")?.strip_prefix(name)?;
                value.rsplit_once(' ')?.1.parse::<u64>().ok()
            });
            values.sum()
        };
        let outcome = |outcome: &str, reason: &str| {
            let labels = format!(r#"{{outcome="{outcome}",reason="{reason}"}}"#);
            sum(&format!("push_outcomes_total{labels}"))
        };
        Self {
            records: sum("records_total"),
            pushes: sum("pushes_total"),
            pending: sum("pushes_pending"),
            queued: sum("queued_parts"),
            in_flight: sum("in_flight_parts"),
            streams_opened: sum("streams_opened_total"),
            streams_broken: sum("streams_broken_total"),
            comets_by_calls: sum("comets_by_calls"),
            delivered: outcome("delivered", "none"),
            expired: outcome("expired", "deadline"),
            no_comet: outcome("expired", "no_comet"),
            unknown_server: outcome("dropped", "unknown_server"),
            no_member: outcome("offline", "no_member"),
            comet_left: outcome("offline", "comet_left"),
            refused: outcome("dropped", "refused"),
            queue_full: outcome("dropped", "queue_full"),
            malformed: outcome("dropped", "malformed"),
            returned: outcome("returned", "shutdown"),
        }
    }

    pub(crate) fn outcomes(&self) -> u64 {
        self.delivered
            + self.expired
            + self.no_comet
            + self.unknown_server
            + self.no_member
            + self.comet_left
            + self.refused
            + self.queue_full
            + self.malformed
            + self.returned
    }
}

pub(crate) fn to_room(room: &str, body: impl Display + Copy) -> PushMsg {
    PushMsg {
        r#type: 1,
        operation: 1000,
        room: room.to_owned(),
        msg: body.to_string().into(),
        ..PushMsg::default()
    }
}

/// A push to keys of comet-1.
pub(crate) fn to_keys(keys: &[&str], body: impl Display + Copy) -> PushMsg {
    to_keys_of("comet-1", keys, body)
}

pub(crate) fn to_keys_of(server: &str, keys: &[&str], body: impl Display + Copy) -> PushMsg {
    PushMsg {
        operation: 1000,
        server: server.to_owned(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        msg: body.to_string().into(),
        ..PushMsg::default()
    }
}

pub(crate) fn to_everyone(speed: i32, body: impl Display + Copy) -> PushMsg {
    PushMsg {
        r#type: 2,
        operation: 1000,
        speed,
        msg: body.to_string().into(),
        ..PushMsg::default()
    }
}
