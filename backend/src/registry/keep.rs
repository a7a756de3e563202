//! Keeping a node known for as long as it lives.

use std::time::Duration;

use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Lease, Role};
use crate::backoff::Backoff;

/// A node's entry in a registry.
pub(super) trait Entry: Send + 'static {
    /// Why an attempt failed.
    type Error: std::fmt::Display + Send;

    /// Writes or renews the entry, within a deadline of its own.
    fn put(&mut self, status: &NodeStatus)
    -> impl Future<Output = Result<Put, Self::Error>> + Send;

    /// Takes the entry out, within a deadline of its own; one that another node
    /// has taken over stays.
    fn remove(
        &mut self,
        status: &NodeStatus,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What became of an entry that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It stands.
    Taken,
    /// A node of the same name that started later has it, at this address.
    Superseded(String),
}

/// How an entry is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// From one success to the next attempt.
    pub(super) interval: Duration,
    /// From a failure to the next attempt.
    pub(super) backoff: Backoff,
}

/// Writes the entry, and keeps it as `status` has it until the lease ends.
pub(super) async fn announce<E: Entry>(
    entry: E,
    role: Role,
    status: watch::Receiver<NodeStatus>,
    renewal: Renewal,
) -> Lease {
    let written = status.borrow().clone();
    let mut keeper = Keeper {
        entry,
        role: role.as_str(),
        written,
        status,
        renewal,
        failures: 0,
        is_superseded: false,
    };
    let pause = keeper.put().await;
    let closing = CancellationToken::new();
    let task = TaskTracker::new().spawn(keeper.keep(pause, closing.clone()));
    Lease::new(closing, task)
}

struct Keeper<E> {
    entry: E,
    role: &'static str,
    status: watch::Receiver<NodeStatus>,
    /// As it was last attempted.
    written: NodeStatus,
    renewal: Renewal,
    failures: u32,
    is_superseded: bool,
}

impl<E: Entry> Keeper<E> {
    async fn keep(mut self, mut pause: Duration, closing: CancellationToken) {
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                () = changed(&mut self.status, &self.written), if self.failures == 0 => {}
            }
            pause = self.put().await;
        }
        let Self {
            mut entry,
            role,
            written,
            ..
        } = self;
        let node = &written.hostname;
        match entry.remove(&written).await {
            Ok(()) => tracing::info!(role, %node, "node left the registry"),
            Err(error) => {
                tracing::warn!(role, %node, %error, "leave the registry: the lease ends by itself");
            }
        }
    }

    /// Writes the entry once; returns the pause until the next time.
    async fn put(&mut self) -> Duration {
        self.written = self.status.borrow_and_update().clone();
        let role = self.role;
        let node = &self.written.hostname;
        match self.entry.put(&self.written).await {
            Ok(Put::Taken) => {
                if self.failures > 0 {
                    let failures = self.failures;
                    tracing::info!(role, %node, failures, "node is announced again");
                }
                self.failures = 0;
                self.is_superseded = false;
                self.renewal.interval
            }
            Ok(Put::Superseded(by)) => {
                if !self.is_superseded {
                    tracing::error!(
                        role, %node, %by,
                        "another node of this name started later: this one stays out of the registry"
                    );
                }
                self.failures = 0;
                self.is_superseded = true;
                self.renewal.interval
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(role, %node, %error, "node is not announced, trying again");
                }
                self.failures = self.failures.saturating_add(1);
                self.renewal.backoff.pause(self.failures)
            }
        }
    }
}

/// Waits until the node differs from `written` in more than its counts, which
/// can wait for the next renewal.
///
/// # Cancel safety
///
/// Nothing is lost: a change that was seen is still a difference.
async fn changed(status: &mut watch::Receiver<NodeStatus>, written: &NodeStatus) {
    loop {
        let same = without_counts(&status.borrow_and_update()) == without_counts(written);
        if !same {
            return;
        }
        if status.changed().await.is_err() {
            // The node says no more: what it said last is kept.
            std::future::pending::<()>().await;
        }
    }
}

/// The status but for what changes all the time.
pub(super) fn without_counts(status: &NodeStatus) -> NodeStatus {
    NodeStatus {
        conn_count: 0,
        ip_count: 0,
        ..status.clone()
    }
}
