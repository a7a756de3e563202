//! What a client needs to know.

use std::time::Duration;

use halley_wire::AuthBody;

use crate::backoff::Backoff;
use crate::connection::ConnectionOptions;
use crate::endpoint::{Endpoint, Transport};

/// Where the servers are.
#[derive(Clone, Debug)]
pub enum Servers {
    /// These, tried in turn from a random start.
    Fixed(Vec<Endpoint>),
    /// Those that logic recommends, asked before each connection (`GET {base_url}/goim/nodes/weighted`).
    Nodes {
        /// logic's HTTP address, for example `http://logic:3111`.
        base_url: String,
        /// How to talk to the nodes.
        transport: Transport,
        /// `web` for host names, anything else for addresses.
        platform: String,
    },
}

/// The settings of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to connect.
    pub servers: Servers,
    /// Who logs in. Room and accepted operations follow later changes, so that a reconnect restores them.
    pub auth: AuthBody,
    /// How links are opened.
    pub connection: ConnectionOptions,
    /// How long the server may take to answer the login.
    pub auth_timeout: Duration,
    /// How long the server may take to answer a request, and to take what is written.
    pub request_timeout: Duration,
    /// Time between heartbeats; `None` takes the node list's advice, or 240 s.
    pub heartbeat: Option<Duration>,
    /// How long a heartbeat's answer may take before the link counts as dead.
    pub heartbeat_timeout: Duration,
    /// Delays between attempts; `None` takes the node list's advice, or goim's default.
    pub backoff: Option<Backoff>,
    /// Attempts in a row without a login after which the client gives up; `None` never.
    pub attempts_max: Option<u32>,
    /// Events that may wait; beyond it the client stops reading its socket. At least 1.
    pub events_max: usize,
    /// Requests that may wait for an answer; beyond it callers wait. At least 1.
    pub requests_max: usize,
}

impl Options {
    /// The defaults: 5 s to log in, 10 s per request, 60 s for a heartbeat, no limit of attempts, 1,024 events, 64 requests.
    pub fn new(servers: Servers, auth: AuthBody) -> Self {
        Self {
            servers,
            auth,
            connection: ConnectionOptions::default(),
            auth_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            heartbeat: None,
            heartbeat_timeout: Duration::from_mins(1),
            backoff: None,
            attempts_max: None,
            events_max: 1024,
            requests_max: 64,
        }
    }
}
