//! All roles, put together as the binary does it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{MemoryConfig, MemoryPushLog, PushLog};
use halley_backend::sessions::{MemorySessions, MemorySessionsConfig};
use halley_client::{ConnectionOptions, Endpoint, TlsOptions, Transport};
use halley_comet::{Addresses, Comet};
use halley_job::{Comets, Job, Peer};
use halley_logic::{Deps, Logic};
use halley_node::grpc::Trust;
use halley_node::{DrainOutcome, Readiness, SharedRegistry, Stage};
use halley_wire::AuthBody;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Api, Client, Ledger, found, soon};

/// What a test may change.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) comet: halley_comet::Config,
    pub(crate) logic: halley_logic::Config,
    pub(crate) push_log: MemoryConfig,
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) api: Api,
    pub(crate) addresses: Addresses,
    stages: VecDeque<Running>,
    trust: TlsOptions,
    _certificate: TempDir,
}

struct Running {
    name: &'static str,
    drain: CancellationToken,
    done: JoinHandle<anyhow::Result<DrainOutcome>>,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(configure: impl FnOnce(&mut Settings)) -> Self {
        let certificate = certificate();
        let mut settings = Settings::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let comet = &mut settings.comet;
        "comet-1".clone_into(&mut comet.server);
        comet.tcp.bind = vec![any];
        comet.websocket.bind = vec![any];
        comet.tls.tcp_bind = vec![any];
        comet.tls.websocket_bind = vec![any];
        comet.tls.cert_files = vec![certificate.path().join("cert.pem")];
        comet.tls.key_files = vec![certificate.path().join("key.pem")];
        comet.rpc.bind = any;
        settings.logic.http.bind = any;
        settings.logic.rpc.bind = any;
        configure(&mut settings);
        Self::build(settings, certificate).expect("the gateway is built")
    }

    fn build(settings: Settings, certificate: TempDir) -> anyhow::Result<Self> {
        let (registry, readiness) = (SharedRegistry::default(), Readiness::default());
        let push_log: Arc<dyn PushLog> = Arc::new(MemoryPushLog::new(settings.push_log));
        let deps = Deps {
            push_log: Arc::clone(&push_log),
            push_log_service: None,
            kafka: None,
            trust: Trust::default(),
            sessions: Arc::new(MemorySessions::new(MemorySessionsConfig::default())),
            comets: None,
            dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
            registry: registry.clone(),
            readiness: readiness.clone(),
        };
        let logic = Logic::build(settings.logic, deps)?;
        let mut registry = registry.lock();
        let comet = Comet::build(
            settings.comet,
            logic.service(),
            &Trust::default(),
            &mut registry,
            &readiness,
        )?;
        let peer = Peer {
            server: comet.server().to_owned(),
            comet: comet.service(),
        };
        let comets = Comets {
            local: vec![peer],
            remote: None,
        };
        let job = halley_job::Config::default();
        let job = Job::build(job, push_log, comets, &mut registry, &readiness)?;
        drop(registry);

        let api = Api::new(logic.addresses().http);
        let addresses = comet.addresses().clone();
        let logic = logic.spawn();
        let stages = [logic.push, job.spawn(), comet.spawn(), logic.rest];
        Ok(Self {
            api,
            addresses,
            stages: stages.map(Running::start).into(),
            trust: TlsOptions::trust_file(&certificate.path().join("cert.pem"))?,
            _certificate: certificate,
        })
    }

    pub(crate) fn endpoint(&self, transport: Transport) -> Endpoint {
        let addresses = match transport {
            Transport::Tcp => &self.addresses.tcp,
            Transport::Websocket => &self.addresses.websocket,
            Transport::TlsTcp => &self.addresses.tls_tcp,
            Transport::TlsWebsocket => &self.addresses.tls_websocket,
        };
        Endpoint::new(transport, "127.0.0.1", addresses[0].port())
    }

    /// A client that is connected and has not logged in.
    pub(crate) async fn connect(&self, transport: Transport) -> Client {
        let options = ConnectionOptions {
            tls: self.trust.clone(),
            ..ConnectionOptions::default()
        };
        Client::connect(&self.endpoint(transport), &options).await
    }

    /// A client that has logged in.
    pub(crate) async fn log_in(&self, transport: Transport, user: &AuthBody) -> Client {
        let mut client = self.connect(transport).await;
        client.log_in(user.to_json()).await;
        client
    }

    /// Waits until every push that was accepted has its outcome.
    pub(crate) async fn settled(&self) -> Ledger {
        let mut last = Ledger::default();
        let settle = found(async || {
            last = Ledger::read(&self.api).await;
            last.is_settled().then_some(())
        });
        let settled = tokio::time::timeout(super::PATIENCE, settle).await;
        assert!(settled.is_ok(), "the counts never added up: {last:#?}");
        last
    }

    /// Waits until comet counts so many clients.
    pub(crate) async fn connections(&self, expected: u64) {
        let connected = found(async || {
            let samples = self.api.metrics().await;
            let connections = samples.sum("halley_comet_connections", &[]);
            (connections == expected).then_some(())
        });
        soon(&format!("{expected} connections"), connected).await;
    }

    /// Drains the next stage to its end.
    pub(crate) async fn drain_next(&mut self) -> (&'static str, DrainOutcome) {
        let stage = self.stages.pop_front().expect("a stage is left");
        stage.drain.cancel();
        let done = soon(stage.name, stage.done).await.expect("no panic");
        (stage.name, done.expect("no error"))
    }

    /// Drains everything and expects that nothing had to be cut off.
    pub(crate) async fn drain(mut self) {
        while !self.stages.is_empty() {
            let (name, outcome) = self.drain_next().await;
            assert_eq!(outcome.forced, 0, "{name}");
        }
    }
}

impl Running {
    fn start(stage: Stage) -> Self {
        Self {
            name: stage.name,
            drain: stage.drain,
            done: TaskTracker::new().spawn(stage.done),
        }
    }
}

fn certificate() -> TempDir {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let files = tempfile::tempdir().expect("a folder");
    std::fs::write(files.path().join("cert.pem"), cert.pem()).expect("written");
    std::fs::write(files.path().join("key.pem"), signing_key.serialize_pem()).expect("written");
    files
}
