//! What the parts of logic share.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use halley_backend::dedup::Dedup;
use halley_backend::push_log::PushLog;
use halley_backend::sessions::Sessions;
use halley_node::{Readiness, SharedRegistry};
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::config::{Config, HttpConfig};
use crate::heat::Heat;
use crate::limit::Limits;
use crate::metrics::{Collected, Metrics};
use crate::nodes::Nodes;
use crate::online::Online;
use crate::serve::Deps;
use crate::sink::Sink;

/// Logic's state, shared by its HTTP API and its gRPC service.
#[derive(Debug)]
pub(crate) struct Core {
    /// With the secrets from files filled in.
    pub(crate) config: Config,
    pub(crate) push_log: Arc<dyn PushLog>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) dedup: Arc<dyn Dedup>,
    pub(crate) nodes: Nodes,
    pub(crate) online: Online,
    pub(crate) heat: Heat,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auth: Auth,
    pub(crate) sink: Sink,
    pub(crate) limits: Limits,
    pub(crate) registry: SharedRegistry,
    pub(crate) readiness: Readiness,
    /// What the node says of itself, once it knows its address.
    pub(crate) status: watch::Sender<NodeStatus>,
    draining: AtomicBool,
}

impl Core {
    /// Checks the configuration, reads the files that it names, and registers
    /// the metrics. Of `deps` it takes what is not for the listeners.
    pub(crate) fn new(mut config: Config, deps: &Deps) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        read_keys(&mut config.http)?;
        let metrics = Arc::new(Metrics::register(&mut deps.registry.lock()));
        let core = Arc::new(Self {
            nodes: Nodes::new(config.nodes.clone(), deps.comets.clone()),
            heat: Heat::default(),
            online: Online::new(Arc::clone(&deps.sessions), config.online.fresh),
            auth: Auth::new(&config.auth, Arc::clone(&metrics)).context("set up authentication")?,
            sink: Sink::new(&config.sink, deps.kafka.as_ref(), Arc::clone(&metrics))
                .context("set up the sink")?,
            limits: Limits::new(&config.limit),
            config,
            push_log: Arc::clone(&deps.push_log),
            sessions: Arc::clone(&deps.sessions),
            dedup: Arc::clone(&deps.dedup),
            metrics,
            registry: Arc::clone(&deps.registry),
            readiness: deps.readiness.clone(),
            status: watch::Sender::default(),
            draining: AtomicBool::new(false),
        });
        let collected = Box::new(Collected::new(&core));
        core.registry.lock().register_collector(collected);
        Ok(core)
    }

    /// Reads every file that a start with this configuration reads, to find out
    /// whether it can.
    pub(crate) fn check_files(config: &Config) -> anyhow::Result<()> {
        read_keys(&mut config.http.clone())?;
        Auth::check_files(&config.auth).context("set up authentication")?;
        Sink::check_files(&config.sink).context("set up the sink")
    }

    /// Whether pushes are refused because the process is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses pushes from now on, and says so: to comets by the node's status,
    /// to others by the readiness of the process.
    pub(crate) fn set_draining(&self) {
        self.status.send_modify(|status| status.draining = true);
        self.draining.store(true, Ordering::Relaxed);
        self.readiness.set_draining();
    }
}

/// Adds the keys of the file to those of the configuration.
fn read_keys(http: &mut HttpConfig) -> anyhow::Result<()> {
    let Some(file) = &http.keys_file else {
        return Ok(());
    };
    let keys = fs::read_to_string(file)
        .with_context(|| format!("read http.keys_file {}", file.display()))?;
    http.keys.extend(
        keys.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.starts_with('#')),
    );
    anyhow::ensure!(
        !http.keys.is_empty(),
        "http.keys_file {} holds no key",
        file.display()
    );
    Ok(())
}
