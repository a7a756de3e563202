//! The servers: every role alone, with nothing but itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use halley_tests::cluster::Node;
use tempfile::TempDir;

/// A client finds the comets here, each at an address of its own.
const NETWORK: [u8; 2] = [127, 90];

/// Everything that runs; it is killed with this value.
pub(crate) struct Fleet {
    pub(crate) logic: Node,
    pub(crate) job: Node,
    pub(crate) comets: Vec<Node>,
    /// Where pushes go.
    pub(crate) http: SocketAddr,
    dir: TempDir,
}

impl Fleet {
    pub(crate) async fn start(halley: &Path, comets: u16) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("halley-million-")?;
        let (http, logic_grpc) = (at(0, 3111), at(0, 3119));
        let peers = (1..=comets).map(|number| {
            let grpc = at(number, 3109);
            format!("{{ server = \"{}\", addr = \"{grpc}\" }}", name(number))
        });
        let shared = format!(
            "[registry.fixed]\nlogics = [\"{logic_grpc}\"]\ncomets = [{}]\n",
            peers.collect::<Vec<_>>().join(", ")
        );
        let node = |role: &str, name: &str, admin: SocketAddr, own: String| {
            let config = format!("{shared}[admin]\nbind = \"{admin}\"\n{own}");
            Node::new(halley, dir.path(), role, name, admin, &config)
        };
        let comet = |number: u16| {
            let own = format!(
                "[comet]\nserver = \"{}\"\n[comet.tcp]\nbind = [\"{}\"]\n\
                 [comet.websocket]\nbind = [\"{}\"]\n[comet.rpc]\nbind = \"{}\"\n",
                name(number),
                at(number, 3101),
                at(number, 3102),
                at(number, 3109),
            );
            node("comet", &name(number), at(number, 3100), own)
        };
        let logic =
            format!("[logic.http]\nbind = \"{http}\"\n[logic.rpc]\nbind = \"{logic_grpc}\"\n");
        let mut fleet = Self {
            logic: node("logic", "logic", at(0, 3110), logic)?,
            comets: (1..=comets).map(comet).collect::<anyhow::Result<_>>()?,
            job: node("job", "job", at(0, 3120), String::new())?,
            http,
            dir,
        };
        fleet.logic.start()?;
        fleet.logic.ready().await?;
        for comet in &mut fleet.comets {
            comet.start()?;
        }
        fleet.job.start()?;
        for comet in &mut fleet.comets {
            comet.ready().await?;
        }
        fleet.job.ready().await?;
        Ok(fleet)
    }

    /// Addresses of all comets: TCP, and WebSocket.
    pub(crate) fn targets(&self) -> (String, String) {
        let numbers = (1..).take(self.comets.len());
        let tcp: Vec<_> = numbers
            .clone()
            .map(|number| at(number, 3101).to_string())
            .collect();
        let websocket: Vec<_> = numbers
            .map(|number| format!("ws://{}/sub", at(number, 3102)))
            .collect();
        (tcp.join(","), websocket.join(","))
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let others = [&self.logic, &self.job].into_iter();
        others.chain(&self.comets).filter_map(Node::pid).collect()
    }

    /// Ends all: who feeds the others first.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.logic.end().await?;
        self.job.end().await?;
        for comet in &mut self.comets {
            comet.end().await?;
        }
        self.dir.close()?;
        Ok(())
    }
}

fn name(number: u16) -> String {
    format!("comet-{number}")
}

/// Addresses of number 0 are those of logic and job.
fn at(number: u16, port: u16) -> SocketAddr {
    let [a, b] = NETWORK;
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, high, low + 1)), port)
}
