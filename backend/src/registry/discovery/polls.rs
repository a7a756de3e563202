//! Waiting for changes of an application's list.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::api::{Api, ApiError, NOT_MODIFIED, NOTHING_FOUND};
use super::instance::Instance;
use super::{DiscoveryConfig, appid};
use crate::registry::Role;
use crate::registry::poll::Source;
use crate::registry::roster::{Answer, Missing};

/// Polls one application.
#[derive(Debug)]
pub(super) struct Polls {
    api: Api,
    config: Arc<DiscoveryConfig>,
    role: Role,
    /// Names this watcher. Discovery mixes up watchers of one name, so it is
    /// not the host's.
    watcher: String,
    last: Option<Last>,
}

/// The list that the next poll follows on.
#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp: i64,
}

/// All of an application; Go writes empty lists as `null`.
#[derive(Debug, Deserialize)]
struct App {
    instances: HashMap<String, Option<Vec<Instance>>>,
    latest_timestamp: i64,
}

impl Polls {
    pub(super) fn new(api: Api, config: &Arc<DiscoveryConfig>, role: Role) -> Self {
        Self {
            api,
            config: Arc::clone(config),
            role,
            watcher: format!("halley-{:016x}", rand::random::<u64>()),
            last: None,
        }
    }

    async fn poll(&mut self) -> Result<Option<App>, ApiError> {
        let timestamp = self.last.map_or(0, |last| last.timestamp).to_string();
        let appid = appid(self.role);
        let params = [
            ("env", &*self.config.env),
            ("hostname", &self.watcher),
            ("appid", appid),
            ("latest_timestamp", &timestamp),
        ];
        let timeout = self.config.poll_timeout;
        let apps: Option<HashMap<String, Option<App>>> =
            self.api.get("polls", &params, timeout).await?;
        Ok(apps.and_then(|mut apps| apps.remove(appid)?))
    }

    fn answer(&mut self, app: Option<App>) -> Answer {
        // The last node of an application takes the application with it.
        let (instances, timestamp) = app.map_or((HashMap::new(), 0), |app| {
            (app.instances, app.latest_timestamp)
        });
        // Timestamps count registrations: after a restart they begin anew.
        let follows_on = self
            .last
            .is_some_and(|last| timestamp == 0 || last.timestamp <= timestamp);
        self.last = Some(Last { timestamp });
        let role = self.role;
        Answer {
            alive: instances
                .into_values()
                .flatten()
                .flatten()
                .map(|instance| (instance.into_status(role), None))
                .collect(),
            left: Vec::new(),
            missing: if follows_on {
                Missing::Gone
            } else {
                Missing::Stay
            },
        }
    }
}

impl Source for Polls {
    type Error = ApiError;

    async fn ask(&mut self, wake: Option<Instant>) -> Result<Option<Answer>, ApiError> {
        let poll = self.poll();
        let result = match wake {
            None => poll.await,
            Some(wake) => match timeout_at(wake, poll).await {
                Ok(result) => result,
                Err(_) => return Ok(None),
            },
        };
        match result {
            Ok(app) => Ok(Some(self.answer(app))),
            Err(ApiError::Code(NOT_MODIFIED)) => Ok(None),
            Err(ApiError::Code(NOTHING_FOUND)) => {
                // Nobody has registered, or discovery has lost its memory.
                self.last = None;
                Ok(Some(Answer {
                    alive: Vec::new(),
                    left: Vec::new(),
                    missing: Missing::Stay,
                }))
            }
            Err(error) => {
                // Another node of discovery, or another run of it, has other
                // timestamps.
                self.last = None;
                Err(error)
            }
        }
    }
}
