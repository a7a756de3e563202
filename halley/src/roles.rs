//! Which roles a process has, and how they are connected.

use std::sync::Arc;

use anyhow::Context as _;
use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{MemoryPushLog, PushLog, PushLogService, RemotePushLog};
use halley_backend::sessions::MemorySessions;
use halley_comet::Comet;
use halley_job::{Comets, Job, Peer, Remote};
use halley_logic::{Deps, Logic};
use halley_node::grpc::{Client, Trust};
use halley_node::{Drains, Readiness, SharedRegistry, Stage, admin};
use halley_proto::remote::RemoteLogic;

use crate::banner::Banner;
use crate::config::Config;
use crate::peers::Peers;
use crate::process::Role;

/// Roles that run.
pub(crate) struct Built {
    /// In the order in which they drain.
    pub(crate) stages: Vec<Stage>,
    pub(crate) banner: Banner,
    /// To be watched, so that new certificates are taken over.
    pub(crate) trust: Trust,
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
    let client = Client::new(&trust, &config.grpc.client);
    let admin = admin::Server::bind(
        &config.admin,
        registry.clone(),
        readiness.clone(),
        drains.clone(),
    )
    .context("admin port")?;
    let mut banner = Banner::new(&config);
    let mut stages = match role {
        Role::All => all(config, &client, registry, readiness, &mut banner),
        Role::Comet => comet(config, &client, registry, readiness, &mut banner),
        Role::Logic => logic(config, &client, registry, readiness, &mut banner),
        Role::Job => job(config, &client, registry, readiness, &mut banner),
    }?;
    if let Some(admin) = admin {
        banner.admin(admin.address());
        stages.push(admin.spawn());
    }
    Ok(Built {
        stages,
        banner,
        trust,
    })
}

fn all(
    config: Config,
    client: &Client,
    registry: &SharedRegistry,
    readiness: &Readiness,
    banner: &mut Banner,
) -> anyhow::Result<Vec<Stage>> {
    let push_log: Arc<dyn PushLog> = Arc::new(MemoryPushLog::new(config.push_log.memory));
    let deps = Deps {
        push_log: Arc::clone(&push_log),
        push_log_service: None,
        kafka: None,
        dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
        trust: client.trust().clone(),
        sessions: Arc::new(MemorySessions::new(config.sessions.memory)),
        comets: None,
        registry: registry.clone(),
        readiness: readiness.clone(),
    };
    let logic = Logic::build(config.logic, deps).context("logic")?;
    let comet = Comet::build(
        config.comet,
        logic.service(),
        client.trust(),
        &mut registry.lock(),
        readiness,
    )
    .context("comet")?;
    let comets = Comets {
        local: vec![Peer {
            server: comet.server().to_owned(),
            comet: comet.service(),
        }],
        remote: (!config.peers.comets.is_empty()).then(|| remote_comets(&config.peers, client)),
    };
    let job = Job::build(
        config.job,
        push_log,
        comets,
        &mut registry.lock(),
        readiness,
    )
    .context("job")?;

    banner.comet(comet.addresses());
    banner.logic(&logic.addresses());
    let logic = logic.spawn();
    Ok(vec![logic.push, job.spawn(), comet.spawn(), logic.rest])
}

fn comet(
    config: Config,
    client: &Client,
    registry: &SharedRegistry,
    readiness: &Readiness,
    banner: &mut Banner,
) -> anyhow::Result<Vec<Stage>> {
    let any_logic = config
        .peers
        .any_logic(client, config.grpc.balance, &mut registry.lock());
    let logic = Arc::new(RemoteLogic::new(any_logic));
    let comet = Comet::build(
        config.comet,
        logic,
        client.trust(),
        &mut registry.lock(),
        readiness,
    )?;
    banner.comet(comet.addresses());
    Ok(vec![comet.spawn()])
}

fn logic(
    config: Config,
    client: &Client,
    registry: &SharedRegistry,
    readiness: &Readiness,
    banner: &mut Banner,
) -> anyhow::Result<Vec<Stage>> {
    let push_log: Arc<dyn PushLog> = Arc::new(MemoryPushLog::new(config.push_log.memory));
    let service = PushLogService::new(Arc::clone(&push_log), config.push_log.service);
    let deps = Deps {
        push_log,
        push_log_service: Some(service.into_server()),
        kafka: None,
        dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
        trust: client.trust().clone(),
        sessions: Arc::new(MemorySessions::new(config.sessions.memory)),
        comets: None,
        registry: registry.clone(),
        readiness: readiness.clone(),
    };
    let logic = Logic::build(config.logic, deps)?;
    banner.logic(&logic.addresses());
    let logic = logic.spawn();
    Ok(vec![logic.push, logic.rest])
}

fn job(
    config: Config,
    client: &Client,
    registry: &SharedRegistry,
    readiness: &Readiness,
    banner: &mut Banner,
) -> anyhow::Result<Vec<Stage>> {
    let logs = config.peers.push_logs(client)?;
    let push_log = Arc::new(RemotePushLog::new(logs, config.push_log.remote));
    banner.job(config.peers.comets.len());
    let comets = Comets {
        local: Vec::new(),
        remote: Some(remote_comets(&config.peers, client)),
    };
    let job = Job::build(
        config.job,
        push_log,
        comets,
        &mut registry.lock(),
        readiness,
    )?;
    Ok(vec![job.spawn()])
}

fn remote_comets(peers: &Peers, client: &Client) -> Remote {
    let client = client.clone();
    Remote::new(peers.nodes(), move |address| client.connect(address))
}
