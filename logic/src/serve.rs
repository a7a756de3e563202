//! Logic as a part of a process: building binds its sockets, spawning serves
//! them.

mod accept;
mod grpc;
mod http1;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use halley_backend::dedup::Dedup;
use halley_backend::push_log::{PushLog, PushLogService};
use halley_backend::registry::Snapshot;
use halley_backend::sessions::Sessions;
use halley_node::grpc::Trust;
use halley_node::{DrainOutcome, Latch, Readiness, SharedRegistry, Stage, admin, listen};
use halley_proto::goim::logic::logic_server;
use halley_proto::halley::node::NodeStatus;
use halley_proto::halley::push_log::push_log_server::PushLogServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::accept::Accept;
use crate::config::Config;
use crate::core::Core;
use crate::http::Api;
use crate::metrics::Listener;
use crate::rpc::Rpc;
use crate::status;

/// How often a node that drains looks whether its push log is empty.
const LOG_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What logic needs from the process.
#[derive(Debug)]
pub struct Deps {
    /// Takes the pushes.
    pub push_log: Arc<dyn PushLog>,
    /// Serves the push log to jobs in other processes, on logic's gRPC
    /// listener.
    pub push_log_service: Option<PushLogServer<PushLogService>>,
    /// Knows where clients are connected.
    pub sessions: Arc<dyn Sessions>,
    /// The comets that a registry knows; `None`: those that call.
    pub comets: Option<watch::Receiver<Snapshot>>,
    /// Where the sink `kafka` finds its topic.
    pub kafka: Option<halley_backend::kafka::Config>,
    /// Remembers answers to pushes that may be repeated.
    pub dedup: Arc<dyn Dedup>,
    /// Who may call the gRPC service.
    pub trust: Trust,
    /// Takes logic's metrics, and is what `/metrics` shows.
    pub registry: SharedRegistry,
    /// Waits for logic, and is what `/readyz` shows.
    pub readiness: Readiness,
}

/// Logic with its sockets bound and nothing running.
#[derive(Debug)]
pub struct Logic {
    core: Arc<Core>,
    http: TcpListener,
    grpc: TcpListener,
    addresses: Addresses,
    push_log_service: Option<PushLogServer<PushLogService>>,
    trust: Trust,
    latch: Latch,
}

/// Where logic listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The HTTP API.
    pub http: SocketAddr,
    /// The gRPC service.
    pub grpc: SocketAddr,
}

/// Logic running, in the two steps in which it drains.
#[derive(Debug)]
pub struct Stages {
    /// Drained, it has answered every push that it took, and refuses others.
    /// Meant to be the first of the process.
    pub push: Stage,
    /// Everything else. Meant to be the last of the process, since comets say
    /// goodbye to it, and operators watch the end on its HTTP listener.
    pub rest: Stage,
}

impl Logic {
    /// Reads the files that the configuration names, to find out whether a start
    /// could.
    ///
    /// # Errors
    ///
    /// The operator's: a file that cannot be used.
    pub fn check_files(config: &Config) -> anyhow::Result<()> {
        Core::check_files(config)
    }

    /// Checks the configuration, reads the files that it names, and binds.
    ///
    /// # Errors
    ///
    /// The operator's: a key that cannot be, a file that cannot be used, an
    /// address that is taken.
    pub fn build(config: Config, deps: Deps) -> anyhow::Result<Self> {
        let latch = deps.readiness.latch("logic");
        let core = Core::new(config, &deps)?;
        let options = listen::Options::default();
        let http =
            listen::bind(core.config.http.bind, &options).context("bind logic http listener")?;
        let grpc =
            listen::bind(core.config.rpc.bind, &options).context("bind logic grpc listener")?;
        let addresses = Addresses {
            http: http.local_addr()?,
            grpc: grpc.local_addr()?,
        };
        deps.trust
            .check_bind(addresses.grpc)
            .context("logic.rpc.bind")?;
        core.status
            .send_replace(status::of(&core.config, addresses.grpc));
        if core.config.http.keys.is_empty() && !addresses.http.ip().is_loopback() {
            tracing::warn!(
                address = %addresses.http,
                "the push api is open to other machines and asks for no key: \
                 set http.keys or http.keys_file"
            );
        }
        Ok(Self {
            core,
            http,
            grpc,
            addresses,
            push_log_service: deps.push_log_service,
            trust: deps.trust,
            latch,
        })
    }

    /// The service itself, for comets in this process.
    pub fn service(&self) -> Arc<dyn logic_server::Logic> {
        Arc::new(Rpc::new(Arc::clone(&self.core)))
    }

    /// Where it listens, ports filled in.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the node says of itself. It says that it drains before it refuses
    /// anything.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.core.status.subscribe()
    }

    /// Starts to serve.
    pub fn spawn(self) -> Stages {
        let Self {
            core,
            http,
            grpc,
            push_log_service,
            trust,
            latch,
            addresses: _,
        } = self;
        let pushes = TaskTracker::new();
        let push = stage("logic.push", |drain, now| {
            drain_pushes(Arc::clone(&core), pushes.clone(), drain, now)
        });
        let rest = stage("logic", |drain, now| async move {
            let config = &core.config;
            let http = Accept::new(
                http,
                config.http.connections_max,
                config.http.write_timeout,
                Listener::Http,
                Arc::clone(&core.metrics),
                now.clone(),
            );
            let grpc = Accept::new(
                grpc,
                config.rpc.connections_max,
                config.rpc.write_timeout,
                Listener::Grpc,
                Arc::clone(&core.metrics),
                now.clone(),
            );
            let api = Api::new(Arc::clone(&core), pushes);
            let admin = admin::router(Arc::clone(&core.registry), core.readiness.clone());
            let serves_log = push_log_service.is_some();
            let services = grpc::Services {
                rpc: Rpc::new(Arc::clone(&core)),
                push_log: push_log_service,
                readiness: core.readiness.clone(),
                trust,
            };
            latch.ready();
            let closing = CancellationToken::new();
            // The sink outlives the service, which fills it.
            let served = CancellationToken::new();
            let serving = async {
                let _served = served.clone().drop_guard();
                let http = http1::serve(http, api, admin, &config.http, &closing, &now);
                let grpc = grpc::serve(grpc, services, &config.rpc, &closing, &now);
                tokio::try_join!(async { Ok(http.await) }, grpc)
            };
            let (serving, mut outcome, (), ()) = tokio::join!(
                serving,
                core.sink.run(&served, &now),
                core.auth.watch(&served),
                async {
                    let _closing = closing.clone().drop_guard();
                    tokio::select! {
                        () = until_closing(&core, serves_log, &drain) => {}
                        () = now.cancelled() => {}
                        () = served.cancelled() => {}
                    }
                },
            );
            let left = core.push_log.depth().map_or(0, |depth| depth.records);
            if left > 0 {
                tracing::error!(records = left, "accepted pushes are lost with this process");
            }
            let (http, grpc) = serving?;
            outcome += http;
            outcome += grpc;
            Ok(outcome)
        });
        Stages { push, rest }
    }
}

/// Refuses pushes when told to, waits for those in `pushes`, and makes the log
/// safe.
async fn drain_pushes(
    core: Arc<Core>,
    pushes: TaskTracker,
    drain: CancellationToken,
    now: CancellationToken,
) -> anyhow::Result<DrainOutcome> {
    drain.cancelled().await;
    core.set_draining();
    let under_way = pushes.len() as u64;
    pushes.close();
    let finish = async {
        pushes.wait().await;
        core.push_log.close().await;
    };
    let forced = tokio::select! {
        () = finish => 0,
        () = now.cancelled() => pushes.len() as u64,
    };
    Ok(DrainOutcome {
        clean: under_way.saturating_sub(forced),
        forced,
    })
}

/// Returns when the listeners may close: not before `drain` is cancelled, nor
/// while the push log holds records that only jobs in other processes can take.
async fn until_closing(core: &Core, serves_log: bool, drain: &CancellationToken) {
    drain.cancelled().await;
    let mut looks = tokio::time::interval(LOG_LOOK_INTERVAL);
    while serves_log && core.push_log.depth().is_some_and(|depth| depth.records > 0) {
        looks.tick().await;
    }
}

/// Starts a stage.
fn stage<F>(
    name: &'static str,
    run: impl FnOnce(CancellationToken, CancellationToken) -> F,
) -> Stage
where
    F: Future<Output = anyhow::Result<DrainOutcome>> + Send + 'static,
{
    let drain = CancellationToken::new();
    let now = CancellationToken::new();
    let running = TaskTracker::new().spawn(run(drain.clone(), now.clone()));
    Stage::new(name, drain, now, async { running.await? })
}
