//! A gateway on free ports, and those who use it.

use std::future::Future;
use std::time::Duration;

pub(crate) use api::{Answer, Api};
pub(crate) use client::{Client, Closed, user};
pub(crate) use gateway::Gateway;
pub(crate) use ledger::Ledger;
pub(crate) use webhook::Webhook;

mod api;
mod client;
mod gateway;
mod ledger;
pub(crate) mod raw;
mod webhook;

/// How long anything may take before a test says that it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Bounds anything by the patience.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Bounds anything by what was promised.
pub(crate) async fn within<T>(
    promised: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> T {
    match tokio::time::timeout(promised, future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("never happened, {elapsed}: {what}"),
    }
}

/// Looks again and again until `probe` finds something.
pub(crate) async fn found<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
