//! A node's registration.

use std::sync::Arc;

use halley_proto::halley::node::NodeStatus;
use tokio::time::Instant;

use super::api::{Api, ApiError, NOTHING_FOUND};
use super::{DiscoveryConfig, appid, instance};
use crate::registry::Role;
use crate::registry::keep::{self, Put, without_counts};

/// Discovery's word for a node that works.
const STATUS_UP: &str = "1";

/// Tells discovery of one node.
#[derive(Debug)]
pub(super) struct Registration {
    api: Api,
    config: Arc<DiscoveryConfig>,
    role: Role,
    registered: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    /// As it registered, but for its counts.
    status: NodeStatus,
    renewed: Instant,
}

impl Registration {
    pub(super) fn new(api: Api, config: Arc<DiscoveryConfig>, role: Role) -> Self {
        Self {
            api,
            config,
            role,
            registered: None,
        }
    }

    async fn register(&mut self, status: &NodeStatus) -> Result<(), ApiError> {
        let metadata = instance::metadata(status);
        let params = [
            ("addrs", &*status.grpc),
            ("version", ""),
            ("status", STATUS_UP),
            ("metadata", &metadata),
        ];
        self.call("register", status, &params).await?;
        self.registered = Some(Registered {
            status: without_counts(status),
            renewed: Instant::now(),
        });
        Ok(())
    }

    /// Renews the lease when it is time, and tells a comet's counts.
    async fn renew(
        &mut self,
        registered: &mut Registered,
        status: &NodeStatus,
    ) -> Result<(), ApiError> {
        if registered.renewed.elapsed() >= self.config.renew_interval {
            self.call("renew", status, &[]).await?;
            registered.renewed = Instant::now();
        }
        if self.role == Role::Comet {
            let metadata = instance::metadata(status);
            let params = [
                ("version", ""),
                ("status", STATUS_UP),
                ("metadata", &metadata),
            ];
            self.call("set", status, &params).await?;
        }
        Ok(())
    }

    async fn call(
        &mut self,
        call: &str,
        status: &NodeStatus,
        more: &[(&str, &str)],
    ) -> Result<(), ApiError> {
        let of_node = [
            ("region", or(&status.region, &self.config.region)),
            ("zone", or(&status.zone, &self.config.zone)),
            ("env", or(&status.env, &self.config.env)),
            ("hostname", &status.hostname),
            ("appid", appid(self.role)),
        ];
        self.api.post(call, &[&of_node, more].concat()).await
    }
}

impl keep::Entry for Registration {
    type Error = ApiError;

    async fn put(&mut self, status: &NodeStatus) -> Result<Put, ApiError> {
        // Not put back after a failure, which leaves open what discovery knows:
        // a registration settles it.
        if let Some(mut registered) = self.registered.take()
            && registered.status == without_counts(status)
        {
            match self.renew(&mut registered, status).await {
                Ok(()) => {
                    self.registered = Some(registered);
                    return Ok(Put::Taken);
                }
                // It has forgotten the node: a set is refused then with a code
                // that is also for other faults.
                Err(ApiError::Code(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.register(status).await?;
        Ok(Put::Taken)
    }

    async fn remove(&mut self, status: &NodeStatus) -> Result<(), ApiError> {
        match self.call("cancel", status, &[]).await {
            Err(ApiError::Code(NOTHING_FOUND)) => Ok(()),
            result => result,
        }
    }
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}
