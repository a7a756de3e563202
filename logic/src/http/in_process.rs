//! The API without a listener, for fuzzing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::Request;
use bytes::Bytes;
use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{MemoryConfig, MemoryPushLog};
use halley_backend::sessions::{Binding, MemorySessions, MemorySessionsConfig, Sessions};
use halley_node::grpc::Trust;
use halley_node::{Readiness, SharedRegistry};
use http_body_util::Full;
use tokio_util::task::TaskTracker;

use super::{Api, body};
use crate::config::Config;
use crate::core::Core;
use crate::serve::Deps;

/// Bytes of an answer that are returned.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The HTTP API of a node that nobody else talks to.
pub struct HttpForTests(Api);

impl HttpForTests {
    /// A node with default settings and a push log in memory that nobody reads;
    /// user 1 is connected with the key `k`.
    pub async fn new() -> anyhow::Result<Self> {
        let sessions = MemorySessions::new(MemorySessionsConfig::default());
        sessions
            .bind(Binding {
                mid: 1,
                key: "k".to_owned(),
                server: "comet-1".to_owned(),
                connection: 1,
            })
            .await?;
        let deps = Deps {
            push_log: Arc::new(MemoryPushLog::new(MemoryConfig::default())),
            push_log_service: None,
            sessions: Arc::new(sessions),
            comets: None,
            kafka: None,
            dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
            trust: Trust::default(),
            registry: SharedRegistry::default(),
            readiness: Readiness::default(),
        };
        let core = Core::new(Config::default(), &deps)?;
        Ok(Self(Api::new(core, TaskTracker::new())))
    }

    /// Answers one request with status and body; `None` when method and target
    /// make none.
    pub async fn answer(
        &self,
        method: &str,
        target: &str,
        body: Vec<u8>,
    ) -> Option<(u16, Vec<u8>)> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(Full::<Bytes>::from(body))
            .ok()?;
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let response = self.0.answer(peer, request).await;
        let status = response.status().as_u16();
        let body = body::read(&mut response.into_body(), ANSWER_BYTES_MAX)
            .await
            .ok()?;
        Some((status, body.to_vec()))
    }
}

impl fmt::Debug for HttpForTests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpForTests")
    }
}
