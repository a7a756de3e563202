//! Comet's part of the configuration; every limit has its name here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use halley_wire::BODY_BYTES_MAX_DEFAULT;
use serde::{Deserialize, Serialize};

use crate::connection::SlowConsumer;

mod check;

pub use check::ConfigError;

/// Everything about the node that holds connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the node in the whole system; empty: the host's name.
    pub server: String,
    /// Region, for the node list's gain.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Deployment environment.
    pub env: String,
    /// Share of new clients, relative to other nodes.
    pub weight: i64,
    /// Addresses for clients; empty: those that its listeners are bound to.
    pub addrs: Vec<String>,
    /// Plain TCP.
    pub tcp: Tcp,
    /// Plain WebSocket.
    pub websocket: WebSocket,
    /// TLS for both.
    pub tls: Tls,
    /// Options of client sockets.
    pub socket: Socket,
    /// Bounds on connections and what they may send.
    pub limits: Limits,
    /// The time up to the answer to a login.
    pub handshake: Handshake,
    /// Delivery to connections.
    pub delivery: Delivery,
    /// The service for job.
    pub rpc: Rpc,
    /// Calls to logic.
    pub logic: LogicCalls,
    /// Paced broadcasts.
    pub broadcast: Broadcast,
    /// Saying goodbye.
    pub drain: Drain,
}

/// Plain TCP listeners.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// Addresses.
    pub bind: Vec<SocketAddr>,
}

/// Plain WebSocket listeners.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocket {
    /// Addresses.
    pub bind: Vec<SocketAddr>,
    /// The one request target that is upgraded.
    pub path: String,
    /// Origins that browsers may connect from; empty: all.
    pub allowed_origins: Vec<String>,
}

/// TLS listeners; without certificates there are none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chains in PEM; the client's server name picks.
    pub cert_files: Vec<PathBuf>,
    /// One private key in PEM per chain.
    pub key_files: Vec<PathBuf>,
    /// Addresses of WebSocket over TLS.
    pub websocket_bind: Vec<SocketAddr>,
    /// Addresses of TCP over TLS.
    pub tcp_bind: Vec<SocketAddr>,
    /// How often the files are looked at for changes.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Options of client sockets, set on the listener and inherited.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Socket {
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// Time without traffic after which the kernel probes the peer; zero: never.
    #[serde(with = "humantime_serde")]
    pub keepalive: Duration,
    /// Kernel send buffer in bytes; 0: the system's choice.
    pub send_buffer_bytes: u32,
    /// Kernel receive buffer in bytes; 0: the system's choice.
    pub receive_buffer_bytes: u32,
}

/// Bounds on connections and what they may send.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections in all; 0: what the open-file limit allows.
    pub connections_max: usize,
    /// Connections from one address; 0: no bound of its own.
    pub connections_per_address_max: usize,
    /// Connections that have not logged in yet.
    pub handshakes_max: usize,
    /// Bytes of a client packet's body.
    pub body_bytes_max: usize,
    /// Bytes of an upgrade request.
    pub upgrade_bytes_max: usize,
    /// Frames of one fragmented WebSocket message.
    pub fragments_max: usize,
    /// Packets, pings and pongs before the login that are ignored.
    pub packets_before_auth_max: usize,
    /// Operations that one connection accepts.
    pub accepts_max: usize,
    /// Bytes of a room's name.
    pub room_name_bytes_max: usize,
}

/// The time up to the answer to a login.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handshake {
    /// From accept to the login's answer, everything included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// Delivery to connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Shards of the key table.
    pub buckets: usize,
    /// Bytes that a room keeps for members that lag, per dialect.
    pub ring_bytes_max: usize,
    /// Frames that a room keeps for members that lag, per dialect.
    pub ring_frames_max: usize,
    /// Frames that wait for one connection.
    pub outbox_frames_max: usize,
    /// Bytes that wait for one connection.
    pub outbox_bytes_max: usize,
    /// What happens to a connection that lags further.
    pub slow_consumer: SlowConsumer,
    /// Time without any progress after which a connection that has something
    /// to read is closed.
    #[serde(with = "humantime_serde")]
    pub write_deadline: Duration,
    /// Longest time that messages of a busy room gather.
    #[serde(with = "humantime_serde")]
    pub window_max: Duration,
    /// Walkers that share one large room; 0: half of the worker threads.
    pub walkers_max: usize,
    /// Deliveries per second from which on a room is told of as hot.
    pub hot_room_deliveries_per_second: u32,
    /// Streams of jobs.
    pub streams_max: usize,
    /// Jobs without a stream whose progress is remembered.
    pub sessions_max: usize,
    /// Items in one message of a stream.
    pub items_max: usize,
    /// Bytes of packets that a job may have under way on its stream.
    pub window_bytes: usize,
    /// How long a client that enters a room that is new here waits until the
    /// jobs know of it; a job that takes longer loses its stream.
    #[serde(with = "humantime_serde")]
    pub rooms_ack_timeout: Duration,
    /// Changes of the rooms held here that a job may lag behind.
    pub room_changes_max: usize,
}

/// The service for job.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rpc {
    /// Address of the gRPC service.
    pub bind: SocketAddr,
    /// Address under which job reaches it; empty: the bound one.
    pub advertise: String,
    /// Bytes of one message in either direction.
    pub message_bytes_max: usize,
    /// Calls at a time on one connection.
    pub streams_max: u32,
    /// Silence after which a peer is asked whether it still lives.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// Time in which it must answer that, and in which a stream must say who
    /// it comes from.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
}

/// Calls to logic.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogicCalls {
    /// Time that one call may take.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Calls under way at once.
    pub in_flight_max: usize,
    /// Calls that are made again because logic could not be reached, for each
    /// hundred calls of the last ten seconds.
    pub retry_percent_max: u32,
    /// So many may be in ten seconds however few calls there are.
    pub retries_min: u32,
    /// First pause before a call is made again; doubled each time.
    #[serde(with = "humantime_serde")]
    pub retry_pause_min: Duration,
    /// Longest pause before a call is made again.
    #[serde(with = "humantime_serde")]
    pub retry_pause_max: Duration,
    /// How often a live connection's binding is renewed.
    #[serde(with = "humantime_serde")]
    pub renew_interval: Duration,
    /// Bindings renewed per second when logic has lost them.
    pub reregister_per_second: u32,
    /// How often the rooms' counts are exchanged.
    #[serde(with = "humantime_serde")]
    pub online_interval: Duration,
}

/// Paced broadcasts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broadcast {
    /// Broadcasts that wait for their turn.
    pub queue_max: usize,
    /// Paced broadcasts under way at once.
    pub paced_max: usize,
    /// How long a broadcast from a job's stream waits for a place before it is refused.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
}

/// Saying goodbye.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long new clients are still let in after the node has said that it
    /// goes; not at all if nobody is told.
    #[serde(with = "humantime_serde")]
    pub notice: Duration,
    /// Connections that are told to go, per second.
    pub connections_per_second: usize,
    /// How long after the last of them was told clients may still take what waits
    /// for them.
    #[serde(with = "humantime_serde")]
    pub unsent_wait: Duration,
    /// Shortest pause before a client should reconnect.
    #[serde(with = "humantime_serde")]
    pub reconnect_min: Duration,
    /// Longest pause before a client should reconnect.
    #[serde(with = "humantime_serde")]
    pub reconnect_max: Duration,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: String::new(),
            region: String::new(),
            zone: String::new(),
            env: String::new(),
            weight: 10,
            addrs: Vec::new(),
            tcp: Tcp::default(),
            websocket: WebSocket::default(),
            tls: Tls::default(),
            socket: Socket::default(),
            limits: Limits::default(),
            handshake: Handshake::default(),
            delivery: Delivery::default(),
            rpc: Rpc::default(),
            logic: LogicCalls::default(),
            broadcast: Broadcast::default(),
            drain: Drain::default(),
        }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            bind: vec![loopback(3101)],
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            bind: vec![loopback(3102)],
            path: "/sub".to_owned(),
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert_files: Vec::new(),
            key_files: Vec::new(),
            websocket_bind: vec![loopback(3103)],
            tcp_bind: vec![loopback(3104)],
            reload_interval: Duration::from_secs(10),
        }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            backlog: 16_384,
            keepalive: Duration::from_mins(2),
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_address_max: 0,
            handshakes_max: 16_384,
            body_bytes_max: BODY_BYTES_MAX_DEFAULT,
            upgrade_bytes_max: 8 << 10,
            fragments_max: 100,
            packets_before_auth_max: 8,
            accepts_max: 1024,
            room_name_bytes_max: 512,
        }
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(8),
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            buckets: 32,
            ring_bytes_max: 8 << 20,
            ring_frames_max: 65_536,
            outbox_frames_max: 16_384,
            outbox_bytes_max: 1 << 20,
            slow_consumer: SlowConsumer::Skip,
            write_deadline: Duration::from_secs(30),
            window_max: Duration::from_millis(40),
            walkers_max: 0,
            hot_room_deliveries_per_second: 10_000,
            streams_max: 64,
            sessions_max: 64,
            items_max: 16_384,
            window_bytes: 8 << 20,
            rooms_ack_timeout: Duration::from_millis(500),
            room_changes_max: 1 << 20,
        }
    }
}

impl Default for Rpc {
    fn default() -> Self {
        Self {
            bind: loopback(3109),
            advertise: String::new(),
            message_bytes_max: 16 << 20,
            streams_max: 10_000,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for LogicCalls {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            in_flight_max: 4096,
            retry_percent_max: 10,
            retries_min: 10,
            retry_pause_min: Duration::from_millis(25),
            retry_pause_max: Duration::from_millis(500),
            renew_interval: Duration::from_mins(10),
            reregister_per_second: 5_000,
            online_interval: Duration::from_secs(1),
        }
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self {
            queue_max: 1024,
            paced_max: 16,
            wait: Duration::from_secs(1),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(2),
            connections_per_second: 5_000,
            unsent_wait: Duration::from_secs(5),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(10),
        }
    }
}
