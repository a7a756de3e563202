//! What became of every push, as the roles count it.

use super::Api;

/// The counts along the way of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) logic: LogicCounts,
    pub(crate) job: JobCounts,
    pub(crate) comet: CometCounts,
}

/// Targets: keys, connections of users, rooms, broadcasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogicCounts {
    pub(crate) handed_on: u64,
    pub(crate) offline: u64,
    pub(crate) refused: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    pub(crate) consumed: u64,
    pub(crate) delivered: u64,
    /// Expired, dropped or returned.
    pub(crate) failed: u64,
}

/// Messages times connections; a push that finds nobody counts one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CometCounts {
    pub(crate) pushes: u64,
    pub(crate) delivered: u64,
    pub(crate) offline: u64,
    pub(crate) dropped: u64,
}

impl Ledger {
    pub(crate) async fn read(api: &Api) -> Self {
        let samples = api.metrics().await;
        let logic = |outcome| samples.sum("halley_logic_pushes_total", &[outcome]);
        let job = |labels: &[&str]| samples.sum("halley_job_push_outcomes_total", labels);
        let delivered = job(&["outcome=\"delivered\""]);
        let comet = |outcome| samples.sum("halley_comet_push_outcomes_total", &[outcome]);
        Self {
            logic: LogicCounts {
                handed_on: logic("outcome=\"accepted\""),
                offline: logic("outcome=\"offline\""),
                refused: logic("outcome=\"refused\""),
            },
            job: JobCounts {
                consumed: samples.sum("halley_job_pushes_total", &[]),
                delivered,
                failed: job(&[]) - delivered,
            },
            comet: CometCounts {
                pushes: samples.sum("halley_comet_pushes_total", &[]),
                delivered: comet("outcome=\"delivered\""),
                offline: comet("outcome=\"offline\""),
                dropped: comet("outcome=\"dropped\""),
            },
        }
    }

    /// Whether nothing is under way: each role has an outcome for everything
    /// that it got, and got everything that the one before handed on.
    pub(crate) fn is_settled(&self) -> bool {
        let Self { logic, job, comet } = self;
        logic.handed_on == job.consumed
            && job.consumed == job.delivered + job.failed
            && comet.pushes == comet.delivered + comet.offline + comet.dropped
    }
}
