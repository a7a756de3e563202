//! The faults.

use std::time::Duration;

use anyhow::ensure;
use halley_tests::cluster::{Cluster, Node};
use halley_tests::load::{Account, Counts, Load, Options};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::namespace;

/// Load before the fault, and after its end.
const CALM: Duration = Duration::from_secs(3);
/// How long something stays away that comes back.
const AWAY: Duration = Duration::from_secs(5);
/// How long a process stands still, or a network is cut.
const STOPPED: Duration = Duration::from_secs(20);
/// `job.push_deadline` as the cluster has it.
const PUSH_DEADLINE: Duration = Duration::from_secs(30);
/// How long the partitions of a job that drains may be nobody's.
const REBALANCED_AFTER: Duration = Duration::from_secs(5);
/// Of the attempts to connect in any minute of a rolling restart.
const CONNECT_RATE_MIN: f64 = 0.99;

/// A fault under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nothing happens: what the load looks like.
    Calm,
    KillComet,
    KillLogic,
    KillJob,
    KillEach,
    StopComet,
    CutComet,
    EmptyRedis,
    KillBroker,
    RollingRestart,
    KillOneBrokerOfThree,
}

/// What a fault came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) account: Account,
    /// Of the worst minute.
    pub(crate) connect_rate: f64,
    pub(crate) seconds: f64,
}

impl Run {
    pub(crate) fn is_good(&self) -> bool {
        let Account {
            unaccounted,
            misordered,
            foreign,
            unknown,
            explained,
            offline_connected,
            ..
        } = self.account;
        let connects =
            self.scenario != Scenario::RollingRestart || self.connect_rate >= CONNECT_RATE_MIN;
        let nothing_dropped = self.scenario.holds_up() || explained == 0;
        let nobody_denied = self.scenario.hides_users() || offline_connected == 0;
        let counted = unaccounted + misordered + foreign + unknown == 0;
        counted && connects && nothing_dropped && nobody_denied
    }
}

impl Scenario {
    pub(crate) const ALL: [Self; 11] = [
        Self::Calm,
        Self::KillComet,
        Self::KillLogic,
        Self::KillJob,
        Self::KillEach,
        Self::StopComet,
        Self::CutComet,
        Self::EmptyRedis,
        Self::KillBroker,
        Self::RollingRestart,
        Self::KillOneBrokerOfThree,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::KillComet => "kill-comet",
            Self::KillLogic => "kill-logic",
            Self::KillJob => "kill-job",
            Self::KillEach => "kill-each",
            Self::StopComet => "stop-comet",
            Self::CutComet => "cut-comet",
            Self::EmptyRedis => "empty-redis",
            Self::KillBroker => "kill-broker",
            Self::RollingRestart => "rolling-restart",
            Self::KillOneBrokerOfThree => "kill-one-broker-of-three",
        }
    }

    /// Whether users who are connected may be taken for offline: until an empty
    /// Redis is filled again, and while a comet stands still for longer than its
    /// lease.
    fn hides_users(self) -> bool {
        matches!(self, Self::EmptyRedis | Self::StopComet)
    }

    /// Whether pushes may wait until they expire.
    fn holds_up(self) -> bool {
        matches!(
            self,
            Self::StopComet | Self::CutComet | Self::KillBroker | Self::KillOneBrokerOfThree
        )
    }

    /// Where nothing dies, a push takes no longer than a rebalance.
    fn owed_after(self) -> Duration {
        if matches!(self, Self::Calm | Self::RollingRestart) {
            REBALANCED_AFTER
        } else {
            PUSH_DEADLINE
        }
    }

    pub(crate) fn brokers(self) -> u16 {
        if self == Self::KillOneBrokerOfThree {
            3
        } else {
            1
        }
    }

    pub(crate) async fn run(self, cluster: &mut Cluster) -> anyhow::Result<Run> {
        let started = Instant::now();
        let counts = Counts::watch(cluster.nodes().map(|node| node.admin).collect()).await;
        let load = Load::start(Options {
            run: format!("{}-{}", self.name(), std::process::id()),
            http: cluster.logics.iter().map(|logic| logic.http).collect(),
            users: 240,
            rooms: 4,
            user_pushes_per_second: 200,
            room_pushes_per_second: 10,
            push_deadline: PUSH_DEADLINE,
            owed_after: self.owed_after(),
        })
        .await?;
        sleep(CALM).await;
        let from = Instant::now();
        self.strike(cluster).await?;
        sleep(CALM).await;
        let connect_rate = load.worst_connect_rate(from);
        let account = load.finish(&counts).await;
        Ok(Run {
            scenario: self,
            account,
            connect_rate,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    async fn strike(self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self {
            Self::Calm => sleep(AWAY).await,
            Self::KillComet => kill(&mut cluster.comets[0].node).await?,
            Self::KillLogic => kill(&mut cluster.logics[0].node).await?,
            Self::KillJob => kill(&mut cluster.jobs[0]).await?,
            Self::KillEach => {
                kill(&mut cluster.comets[1].node).await?;
                sleep(CALM).await;
                kill(&mut cluster.logics[1].node).await?;
                sleep(CALM).await;
                kill(&mut cluster.jobs[1]).await?;
            }
            Self::StopComet => {
                let comet = &cluster.comets[2].node;
                comet.signal(Signal::STOP)?;
                sleep(STOPPED).await;
                comet.signal(Signal::CONT)?;
            }
            Self::CutComet => {
                let grpc = cluster.comets[2].grpc;
                namespace::cut(grpc.ip(), grpc.port())?;
                sleep(STOPPED).await;
                namespace::mend(grpc.ip(), grpc.port())?;
            }
            Self::EmptyRedis => {
                cluster.redis.kill();
                sleep(AWAY).await;
                cluster.redis.restart()?;
                sleep(AWAY).await;
            }
            Self::KillBroker | Self::KillOneBrokerOfThree => {
                cluster.kafka.kill(0);
                sleep(AWAY).await;
                cluster.kafka.restart(0)?;
                sleep(AWAY).await;
            }
            Self::RollingRestart => {
                for number in 0..cluster.comets.len() {
                    restart(&mut cluster.comets[number].node).await?;
                }
                for number in 0..cluster.logics.len() {
                    restart(&mut cluster.logics[number].node).await?;
                }
                for number in 0..cluster.jobs.len() {
                    restart(&mut cluster.jobs[number]).await?;
                }
            }
        }
        Ok(())
    }
}

async fn kill(node: &mut Node) -> anyhow::Result<()> {
    node.kill()?;
    sleep(AWAY).await;
    node.start()?;
    node.ready().await
}

async fn restart(node: &mut Node) -> anyhow::Result<()> {
    let status = node.drain().await?;
    ensure!(status.success(), "{} drained with {status}", node.name);
    node.start()?;
    node.ready().await?;
    sleep(CALM).await;
    Ok(())
}
