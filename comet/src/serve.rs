//! Building, starting and draining the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use halley_node::grpc::Trust;
use halley_node::listen::{self, bind};
use halley_node::tls::Tls;
use halley_node::{DrainOutcome, Latch, Readiness, Registry, Stage};
use halley_proto::goim::comet::comet_server::Comet as Service;
use halley_proto::goim::logic::logic_server::Logic;
use halley_proto::halley::node::NodeStatus;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Listener, Speaks, accept};
use crate::admission::{Admission, AdmissionLimits};
use crate::broadcast::Broadcaster;
use crate::bucket::Buckets;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::{AcceptSets, OutboxLimits, Rules};
use crate::delivery::{self, HeldLimits, HeldRooms};
use crate::event_loop::{EventLoop, EventLoops};
use crate::hub::{Hub, Logins};
use crate::metrics::Metrics;
use crate::online::{self, Online, Status};
use crate::ring;
use crate::room::Rooms;
use crate::turns::Turns;
use crate::{drain, renewals, rpc, sweep};

mod grpc;

use grpc::Services;

/// Descriptors that are not for clients: listeners, gRPC, files.
const DESCRIPTORS_RESERVED: u64 = 256;
/// For connections from other nodes to end by themselves.
const RPC_END: Duration = Duration::from_secs(2);

/// Where the node can be reached.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// TCP.
    pub tcp: Vec<SocketAddr>,
    /// WebSocket.
    pub websocket: Vec<SocketAddr>,
    /// TCP over TLS.
    pub tls_tcp: Vec<SocketAddr>,
    /// WebSocket over TLS.
    pub tls_websocket: Vec<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
}

/// A node whose sockets are bound and that has not started.
pub struct Comet {
    hub: Arc<Hub>,
    event_loops: Vec<EventLoop>,
    services: Services,
    listeners: Listeners,
    grpc: TcpListener,
    tls: Option<Arc<Tls>>,
    status: Arc<Status>,
    addresses: Addresses,
    latch: Latch,
}

impl std::fmt::Debug for Comet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comet")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Comet {
    /// Checks the configuration and binds every socket. `trust` says who may push.
    pub fn build(
        config: Config,
        logic: Arc<dyn Logic>,
        trust: &Trust,
        registry: &mut Registry,
        readiness: &Readiness,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let tls = load_tls(&config)?;
        let (listeners, mut addresses) = bind_listeners(&config, tls.as_ref())?;
        let options = listen::Options {
            nodelay: true,
            ..listen::Options::default()
        };
        let grpc = bind(config.rpc.bind, &options)
            .with_context(|| format!("bind comet gRPC to {}", config.rpc.bind))?;
        let grpc_address = grpc.local_addr()?;
        trust.check_bind(grpc_address).context("comet.rpc.bind")?;
        addresses.grpc = Some(grpc_address);
        let threads = Handle::current().metrics().num_workers();
        let event_loops = (0..threads).map(|_| EventLoop::new());
        let event_loops = event_loops.collect::<Result<Vec<_>, _>>();
        let event_loops = event_loops.context("make the event loops")?;
        let hub = Arc::new(hub(config, logic, registry, &event_loops)?);
        let status = Arc::new(Status::new(status(&hub, &addresses, grpc_address)));
        let broadcaster = Arc::new(Broadcaster::start(&hub));
        Ok(Self {
            services: Services {
                comet: Arc::new(rpc::Service::new(
                    Arc::clone(&hub),
                    Arc::clone(&broadcaster),
                )),
                delivery: delivery::Service::new(Arc::clone(&hub), broadcaster),
                readiness: readiness.clone(),
                trust: trust.clone(),
            },
            hub,
            event_loops,
            listeners,
            grpc,
            tls,
            status,
            addresses,
            latch: readiness.latch("comet"),
        })
    }

    /// Reads the files that the configuration names, to find out whether a start
    /// could.
    pub fn check_files(config: &Config) -> anyhow::Result<()> {
        load_tls(config).map(drop)
    }

    /// The node as job sees it.
    pub fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.services.comet) as Arc<dyn Service>
    }

    /// The node's name.
    pub fn server(&self) -> &str {
        &self.hub.server
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What the node says of itself, as it changes.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.status.watch()
    }

    /// Starts everything.
    pub fn spawn(self) -> Stage {
        let drain = CancellationToken::new();
        let now = self.hub.serving.clone();
        Stage::new("comet", drain.clone(), now, run(self, drain))
    }
}

async fn run(comet: Comet, end: CancellationToken) -> anyhow::Result<DrainOutcome> {
    let hub = comet.hub;
    // What serves the node itself, not its clients.
    let own = TaskTracker::new();
    let stop_rpc = CancellationToken::new();
    for (listener, speaks) in comet.listeners {
        own.spawn(accept(Arc::clone(&hub), listener, speaks));
    }
    for event_loop in comet.event_loops {
        own.spawn(event_loop.run(Arc::clone(&hub)));
    }
    let (due, renewals) = renewals::queue(&hub);
    own.spawn(sweep::sweep(Arc::clone(&hub), due));
    own.spawn(renewals::renew(Arc::clone(&hub), renewals));
    own.spawn(online::exchange(
        Arc::clone(&hub),
        Arc::clone(&comet.status),
    ));
    if let Some(tls) = comet.tls {
        own.spawn(tls.watch(hub.config.tls.reload_interval, hub.serving.clone()));
    }
    let mut rpc = own.spawn(grpc::serve(
        Arc::clone(&hub),
        comet.grpc,
        comet.services,
        stop_rpc.clone(),
    ));
    comet.latch.ready();
    tokio::select! {
        () = end.cancelled() => {}
        () = hub.serving.cancelled() => {}
        ended = &mut rpc => {
            hub.accepting.cancel();
            hub.serving.cancel();
            return Err(match ended {
                Ok(Ok(())) => anyhow!("comet gRPC ended by itself"),
                Ok(Err(error)) => error,
                Err(error) => anyhow!(error).context("comet gRPC panicked"),
            });
        }
    }
    let outcome = drain::drain(&hub, &comet.status).await;
    stop_rpc.cancel();
    tokio::select! {
        _ = &mut rpc => {}
        // Whoever is at the other end hangs, or has calls without end.
        () = sleep(RPC_END) => {}
        () = hub.serving.cancelled() => {}
    }
    rpc.abort();
    hub.serving.cancel();
    own.close();
    own.wait().await;
    Ok(outcome)
}

fn load_tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    if config.tls.cert_files.is_empty() {
        return Ok(None);
    }
    let files = halley_node::tls::Files {
        cert: config.tls.cert_files.clone(),
        key: config.tls.key_files.clone(),
    };
    let tls = Tls::load(&files).context("load comet's certificates")?;
    Ok(Some(tls))
}

type Listeners = Vec<(Listener, Speaks)>;

fn bind_listeners(
    config: &Config,
    tls: Option<&Arc<Tls>>,
) -> anyhow::Result<(Listeners, Addresses)> {
    let keepalive = config.socket.keepalive;
    let size = |bytes: u32| (bytes > 0).then_some(bytes);
    let options = listen::Options {
        backlog: config.socket.backlog,
        nodelay: true,
        keepalive: (!keepalive.is_zero()).then_some(keepalive),
        send_buffer_bytes: size(config.socket.send_buffer_bytes),
        receive_buffer_bytes: size(config.socket.receive_buffer_bytes),
    };
    let mut listeners = Vec::new();
    let mut bind_all = |binds: &[SocketAddr], speaks: &Speaks| -> anyhow::Result<Vec<SocketAddr>> {
        let mut bound = Vec::new();
        for address in binds {
            let listener = bind(*address, &options)
                .with_context(|| format!("bind {} to {address}", speaks.name()))?;
            bound.push(listener.local_addr()?);
            listeners.push((Listener::new(listener)?, speaks.clone()));
        }
        Ok(bound)
    };
    let mut addresses = Addresses {
        tcp: bind_all(&config.tcp.bind, &Speaks::Tcp)?,
        websocket: bind_all(&config.websocket.bind, &Speaks::WebSocket)?,
        ..Addresses::default()
    };
    if let Some(tls) = tls {
        addresses.tls_tcp = bind_all(&config.tls.tcp_bind, &Speaks::TlsTcp(Arc::clone(tls)))?;
        addresses.tls_websocket = bind_all(
            &config.tls.websocket_bind,
            &Speaks::TlsWebSocket(Arc::clone(tls)),
        )?;
    }
    Ok((listeners, addresses))
}

/// How many walkers may share one room: the others' messages have to go on, too.
fn walkers_max(configured: usize, threads: usize) -> usize {
    match configured {
        0 => (threads / 2).max(1),
        configured => configured,
    }
}

fn status(hub: &Hub, addresses: &Addresses, grpc: SocketAddr) -> NodeStatus {
    let config = &hub.config;
    let addrs = if config.addrs.is_empty() {
        bound_ips(addresses)
    } else {
        config.addrs.clone()
    };
    let grpc = match config.rpc.advertise.as_str() {
        "" => format!("grpc://{grpc}"),
        advertised => format!("grpc://{advertised}"),
    };
    NodeStatus {
        hostname: hub.server.clone(),
        region: config.region.clone(),
        zone: config.zone.clone(),
        env: config.env.clone(),
        addrs,
        grpc,
        weight: config.weight,
        started_ms: hub.started_ms,
        ..NodeStatus::default()
    }
}

/// Where clients reach the listeners, as far as their addresses say: one that
/// stands for all of the machine leads nowhere, and loopback only where all is.
fn bound_ips(addresses: &Addresses) -> Vec<String> {
    let bound = [
        &addresses.tcp,
        &addresses.websocket,
        &addresses.tls_tcp,
        &addresses.tls_websocket,
    ];
    let bound = || bound.into_iter().flatten().map(|at| at.ip().to_canonical());
    let is_local = bound().all(|ip| ip.is_loopback());
    let mut ips: Vec<_> = bound()
        .filter(|ip| is_local || !(ip.is_unspecified() || ip.is_loopback()))
        .map(|ip| ip.to_string())
        .collect();
    ips.sort_unstable();
    ips.dedup();
    if ips.is_empty() {
        tracing::warn!(
            "the node list has no address for clients of this node: \
             set comet.addrs, or bind to addresses of its own"
        );
    }
    ips
}

fn hub(
    config: Config,
    logic: Arc<dyn Logic>,
    registry: &mut Registry,
    event_loops: &[EventLoop],
) -> anyhow::Result<Hub> {
    let server = match config.server.as_str() {
        "" => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        server => server.to_owned(),
    };
    let connections_max = match config.limits.connections_max {
        0 => {
            let files =
                halley_node::limits::raise_open_files().context("raise the open-file limit")?;
            let loops = u64::try_from(event_loops.len()).unwrap_or(u64::MAX);
            let reserved = DESCRIPTORS_RESERVED.saturating_add(loops.saturating_mul(2));
            let clients = files.soft.saturating_sub(reserved);
            usize::try_from(clients).unwrap_or(usize::MAX)
        }
        max => max,
    };
    let metrics = Arc::new(Metrics::register(registry));
    let calls = Calls::new(
        logic,
        server.clone(),
        config.logic.clone(),
        Arc::clone(&metrics),
    );
    let delivery = &config.delivery;
    // One for each.
    let threads = event_loops.len();
    Ok(Hub {
        server,
        started_ms: unix_ms(),
        clock: Clock::start(),
        rules: Rules {
            outbox: OutboxLimits {
                frames_max: delivery.outbox_frames_max,
                bytes_max: delivery.outbox_bytes_max,
            },
            slow_consumer: delivery.slow_consumer,
        },
        ring_limits: ring::Limits {
            bytes_max: delivery.ring_bytes_max,
            frames_max: delivery.ring_frames_max,
        },
        walkers_max: walkers_max(delivery.walkers_max, threads),
        turns: Turns::new(threads),
        event_loops: EventLoops::new(event_loops),
        buckets: Buckets::new(delivery.buckets),
        accept_sets: AcceptSets::default(),
        rooms: Rooms::new(delivery.buckets),
        held: HeldRooms::new(
            HeldLimits {
                ack_timeout: delivery.rooms_ack_timeout,
                changes_max: delivery.room_changes_max,
            },
            Arc::clone(&metrics),
        ),
        online: Online::new(config.delivery.hot_room_deliveries_per_second),
        admission: Admission::new(AdmissionLimits {
            connections_max,
            connections_per_address_max: config.limits.connections_per_address_max,
            handshakes_max: config.limits.handshakes_max,
        }),
        calls,
        metrics,
        tasks: TaskTracker::new(),
        broadcasts: TaskTracker::new(),
        streams: TaskTracker::new(),
        draining: CancellationToken::new(),
        accepting: CancellationToken::new(),
        leaving: CancellationToken::new(),
        streams_end: CancellationToken::new(),
        serving: CancellationToken::new(),
        logins: Logins::start(),
        config,
    })
}

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
