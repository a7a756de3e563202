//! Which roles a process has, and how they are connected.

use std::sync::Arc;

use anyhow::Context as _;
use halley_backend::push_log::PushLog;
use halley_backend::registry::{Registry, Role as NodeRole};
use halley_comet::Comet;
use halley_job::{Comets, Job, Peer, Remote};
use halley_logic::{Deps, Logic};
use halley_node::grpc::{Client, Trust};
use halley_node::{Drains, Readiness, SharedRegistry, Stage, admin};
use halley_proto::goim::logic::logic_server::Logic as LogicService;
use halley_proto::halley::node::NodeStatus;
use halley_proto::remote::RemoteLogic;
use tokio::sync::watch;

use crate::banner::Banner;
use crate::config::Config;
use crate::outside::{Entrance, Outside};
use crate::process::Role;
use crate::{lease, logics};

/// Roles that run.
pub(crate) struct Built {
    /// In the order in which they drain.
    pub(crate) stages: Vec<Stage>,
    pub(crate) banner: Banner,
    /// To be watched, so that new certificates are taken over.
    pub(crate) trust: Trust,
    /// To be held: what watches the nodes learns nothing more without it.
    pub(crate) nodes: Arc<dyn Registry>,
}

/// Builds every role, which binds its sockets, before any of them starts: a
/// process either has all of its ports or does nothing.
pub(crate) fn build(
    role: Role,
    config: Config,
    registry: &SharedRegistry,
    readiness: &Readiness,
    drains: &Drains,
) -> anyhow::Result<Built> {
    let trust = Trust::load(&config.trust)?;
    let admin = admin::Server::bind(
        &config.admin,
        registry.clone(),
        readiness.clone(),
        drains.clone(),
    )
    .context("admin port")?;
    let mut process = Process {
        client: Client::new(&trust, &config.grpc.client),
        outside: Outside::new(&config, registry)?,
        banner: Banner::new(&config),
        config,
        registry,
        readiness,
    };
    let mut stages = match role {
        Role::All => process.all(),
        Role::Comet => process.comet_alone(),
        Role::Logic => process.logic_alone(),
        Role::Job => process.job_alone(),
    }?;
    let Process {
        mut banner,
        outside,
        ..
    } = process;
    if let Some(admin) = admin {
        banner.admin(admin.address());
        stages.push(admin.spawn());
    }
    Ok(Built {
        stages,
        banner,
        trust,
        nodes: outside.nodes,
    })
}

/// What roles are built from.
struct Process<'a> {
    config: Config,
    client: Client,
    outside: Outside,
    banner: Banner,
    registry: &'a SharedRegistry,
    readiness: &'a Readiness,
}

impl Process<'_> {
    fn all(&mut self) -> anyhow::Result<Vec<Stage>> {
        let push_log = self.outside.push_log(&self.config)?;
        let logic = self.logic(Entrance {
            push_log: Arc::clone(&push_log),
            service: None,
        })?;
        let comet = self.comet(logic.service())?;
        let job = self.job(
            push_log,
            vec![Peer {
                server: comet.server().to_owned(),
                comet: comet.service(),
            }],
        )?;
        let comet_lease = self.lease("comet.lease", NodeRole::Comet, || comet.status());
        let logic_lease = self.lease("logic.lease", NodeRole::Logic, || logic.status());
        let logic = logic.spawn();
        let mut stages = vec![logic.push, job.spawn(), comet.spawn()];
        stages.extend(comet_lease);
        stages.push(logic.rest);
        stages.extend(logic_lease);
        Ok(stages)
    }

    fn comet_alone(&mut self) -> anyhow::Result<Vec<Stage>> {
        let any_logic = logics::any(
            self.outside.nodes.watch(NodeRole::Logic),
            &self.client,
            self.config.grpc.balance.clone(),
            &mut self.registry.lock(),
        );
        let comet = self.comet(Arc::new(RemoteLogic::new(any_logic)))?;
        let lease = self.lease("comet.lease", NodeRole::Comet, || comet.status());
        let mut stages = vec![comet.spawn()];
        stages.extend(lease);
        Ok(stages)
    }

    fn logic_alone(&mut self) -> anyhow::Result<Vec<Stage>> {
        let entrance = self.outside.entrance(&self.config)?;
        let logic = self.logic(entrance)?;
        let lease = self.lease("logic.lease", NodeRole::Logic, || logic.status());
        let logic = logic.spawn();
        let mut stages = vec![logic.push, logic.rest];
        stages.extend(lease);
        Ok(stages)
    }

    fn job_alone(&mut self) -> anyhow::Result<Vec<Stage>> {
        let push_log = self.outside.exit(&self.config, &self.client)?;
        self.banner.job(&self.config.registry);
        Ok(vec![self.job(push_log, Vec::new())?.spawn()])
    }

    fn logic(&mut self, entrance: Entrance) -> anyhow::Result<Logic> {
        let deps = Deps {
            push_log: entrance.push_log,
            push_log_service: entrance.service,
            trust: self.client.trust().clone(),
            sessions: self.outside.sessions(&self.config)?,
            dedup: self.outside.dedup(&self.config)?,
            comets: self
                .config
                .registry_has_status()
                .then(|| self.outside.nodes.watch(NodeRole::Comet)),
            kafka: Some(self.config.kafka.clone()),
            registry: self.registry.clone(),
            readiness: self.readiness.clone(),
        };
        let logic = Logic::build(self.config.logic.clone(), deps).context("logic")?;
        self.banner.logic(&logic.addresses());
        Ok(logic)
    }

    fn comet(&mut self, logic: Arc<dyn LogicService>) -> anyhow::Result<Comet> {
        let comet = Comet::build(
            self.config.comet.clone(),
            logic,
            self.client.trust(),
            &mut self.registry.lock(),
            self.readiness,
        )
        .context("comet")?;
        self.banner.comet(comet.addresses());
        Ok(comet)
    }

    /// A job for the comets of this process and those that the registry knows.
    fn job(&self, push_log: Arc<dyn PushLog>, local: Vec<Peer>) -> anyhow::Result<Job> {
        let client = self.client.clone();
        let nodes = self.outside.comets(&self.config);
        let remote = nodes.map(|nodes| Remote::new(nodes, move |addr| client.connect(addr)));
        let job = Job::build(
            self.config.job.clone(),
            push_log,
            Comets { local, remote },
            &mut self.registry.lock(),
            self.readiness,
        );
        job.context("job")
    }

    /// The node's place in the registry, if nodes have one there. Without, nobody
    /// may hold its status: a comet that is watched drains more slowly.
    fn lease(
        &self,
        name: &'static str,
        role: NodeRole,
        status: impl FnOnce() -> watch::Receiver<NodeStatus>,
    ) -> Option<Stage> {
        let nodes = Arc::clone(&self.outside.nodes);
        let is_needed = self.config.registry_has_status();
        is_needed.then(|| lease::stage(name, nodes, role, status()))
    }
}
