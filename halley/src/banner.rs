//! What a process says of itself when it is up: where it listens, and what to
//! try first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use halley_backend::registry::{RegistryConfig, RegistryKind};
use halley_logic::config::AuthMode;
use tracing::info;

use crate::config::Config;

/// Lines about one process.
#[derive(Debug)]
pub(crate) struct Banner {
    binary: String,
    websocket_path: String,
    demo: bool,
    /// Whether a client needs a token.
    token: bool,
    /// Whether a push needs a key.
    key: bool,
    listening: Vec<(&'static str, String)>,
    tcp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

/// goim's port for TCP, where `halley connect` goes by itself.
const TCP_PORT: u16 = 3101;

impl Banner {
    pub(crate) fn new(config: &Config) -> Self {
        let http = &config.logic.http;
        Self {
            binary: std::env::args()
                .next()
                .unwrap_or_else(|| "halley".to_owned()),
            websocket_path: config.comet.websocket.path.clone(),
            demo: http.demo,
            token: config.logic.auth.mode != AuthMode::Insecure,
            key: !http.keys.is_empty() || http.keys_file.is_some(),
            listening: Vec::new(),
            tcp: None,
            http: None,
        }
    }

    pub(crate) fn comet(&mut self, addresses: &halley_comet::Addresses) {
        let path = &self.websocket_path;
        let kinds = [
            ("tcp", "tcp", &addresses.tcp, ""),
            ("websocket", "ws", &addresses.websocket, path),
            ("tcp in tls", "tls", &addresses.tls_tcp, ""),
            ("websocket in tls", "wss", &addresses.tls_websocket, path),
        ];
        for (name, scheme, addresses, path) in kinds {
            for address in addresses {
                self.listening
                    .push((name, format!("{scheme}://{address}{path}")));
            }
        }
        if let Some(address) = addresses.grpc {
            self.listening.push(("comet grpc", address.to_string()));
        }
        self.tcp = addresses.tcp.first().copied().map(reachable);
    }

    pub(crate) fn logic(&mut self, addresses: &halley_logic::Addresses) {
        let http = addresses.http;
        self.listening.push(("http", format!("http://{http}")));
        self.listening
            .push(("logic grpc", addresses.grpc.to_string()));
        self.http = Some(reachable(http));
    }

    pub(crate) fn job(&mut self, registry: &RegistryConfig) {
        let comets = match registry.kind {
            RegistryKind::Auto | RegistryKind::Fixed => {
                format!("{} comets", registry.fixed.comets.len())
            }
            RegistryKind::Dns => "the comets in DNS".to_owned(),
            RegistryKind::Redis => "the comets in Redis".to_owned(),
            RegistryKind::Discovery => "the comets in discovery".to_owned(),
        };
        self.listening.push(("delivers to", comets));
    }

    pub(crate) fn admin(&mut self, address: SocketAddr) {
        self.listening
            .push(("admin", format!("http://{address}/readyz")));
    }

    /// The same as log lines.
    pub(crate) fn log(&self) {
        for (what, address) in &self.listening {
            info!(what, %address, "listening");
        }
        for (what, line) in self.to_try() {
            info!(what, line, "to try");
        }
    }

    fn to_try(&self) -> Vec<(&'static str, String)> {
        // Only a process that has both ends can be tried by itself.
        let (Some(tcp), Some(http)) = (self.tcp, self.http) else {
            return Vec::new();
        };
        let url = if tcp.port() == TCP_PORT && tcp.ip() == Ipv4Addr::LOCALHOST {
            String::new()
        } else {
            format!(" tcp://{tcp}")
        };
        let token = if self.token { " --token '…'" } else { "" };
        let key = if self.key {
            " -H 'authorization: Bearer …'"
        } else {
            ""
        };
        let mut lines = vec![
            (
                "client",
                format!("{} connect{url} --room live://1000{token}", self.binary),
            ),
            (
                "push",
                format!(
                    "curl{key} -d 'hello' 'http://{http}/goim/push/room?operation=1000&type=live&room=1000'"
                ),
            ),
        ];
        if self.demo {
            lines.push(("browser", format!("http://{http}/demo")));
        }
        lines
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "halley {} is up", env!("CARGO_PKG_VERSION"))?;
        for (what, address) in &self.listening {
            writeln!(f, "  {what:<18}{address}")?;
        }
        let to_try = self.to_try();
        if !to_try.is_empty() {
            writeln!(
                f,
                "\nA client, a push that it receives, and both on one page:\n"
            )?;
            for (_, line) in to_try {
                writeln!(f, "  {line}")?;
            }
        }
        writeln!(f)
    }
}

/// An address that one can connect to from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
