//! One service of several nodes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};
use tracing::warn;

use super::Client;
use crate::Registry;
use crate::breaker::Limits;

mod call;
mod metrics;
mod peer;
mod tried;

use call::Call;
use metrics::Metrics;
use peer::Peer;
pub use tried::Tried;

/// How a node is chosen, and when one is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancedConfig {
    /// Failed calls in a row after which a node is left alone.
    pub failures_max: u32,
    /// How long it is, the first time. Doubles each time that it fails again.
    #[serde(with = "humantime_serde")]
    pub open_min: Duration,
    /// How long it is at most.
    #[serde(with = "humantime_serde")]
    pub open_max: Duration,
    /// A call that its caller gives up after this time has failed.
    #[serde(with = "humantime_serde")]
    pub abandoned_after: Duration,
}

impl Default for BalancedConfig {
    fn default() -> Self {
        Self {
            failures_max: 5,
            open_min: Duration::from_millis(200),
            open_max: Duration::from_secs(5),
            abandoned_after: Duration::from_secs(1),
        }
    }
}

/// A node that offers the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is, as [`Client::connect`] takes it.
    pub addr: String,
    /// It is about to end: used only when no other can be.
    pub draining: bool,
}

/// The way to whichever node has the fewest calls under way, for any generated
/// client. Clones share one state.
///
/// Of two nodes taken at random the one with fewer calls under way is asked:
/// nearly as even as always asking the least busy one, without everybody running
/// to it at once. A node that hangs gathers calls and is avoided, and so is for a
/// second one that says that it cannot do its work now; one that fails
/// several times in a row is left alone for a while and then tried with one
/// call. A call that could not be sent ends with an error; whether it may be
/// sent again only its caller knows, and [`Tried`] makes sure that another node
/// is asked then.
#[derive(Clone)]
pub struct Balanced {
    shared: Arc<Shared>,
}

struct Shared {
    service: &'static str,
    client: Client,
    config: BalancedConfig,
    peers: Mutex<Peers>,
    metrics: Metrics,
}

struct Peers {
    targets: watch::Receiver<Vec<Target>>,
    /// The sender is gone, and its last list was taken over.
    is_final: bool,
    list: Vec<Arc<Peer>>,
}

impl Balanced {
    /// Balances over `targets` as they change; `service` names them in logs and
    /// metrics. The last list stays in force when its sender is gone.
    pub fn new(
        service: &'static str,
        client: Client,
        config: BalancedConfig,
        mut targets: watch::Receiver<Vec<Target>>,
        registry: &mut Registry,
    ) -> Self {
        targets.mark_changed();
        let shared = Arc::new(Shared {
            service,
            client,
            config,
            peers: Mutex::new(Peers {
                targets,
                is_final: false,
                list: Vec::new(),
            }),
            metrics: Metrics::register(service, registry),
        });
        metrics::collect(&shared, registry);
        Self { shared }
    }
}

impl Shared {
    /// A node to ask, and the right to ask it.
    fn choose(self: &Arc<Self>, tried: Option<&Tried>) -> Result<Call, Status> {
        let now = Instant::now();
        let mut peers = self.peers.lock();
        self.refresh(&mut peers);
        let is_new = |peer: &Peer| tried.is_none_or(|tried| !tried.contains(&peer.addr));
        // In the order of preference; a node that is asked again, or is about to
        // end, may still answer.
        let is_good =
            |peer: &Peer| !peer.is_draining() && is_new(peer) && peer.breaker.is_admitting(now);
        let chosen = pick(&peers.list, |peer| is_good(peer) && !peer.is_troubled(now))
            .or_else(|| pick(&peers.list, is_good))
            .or_else(|| {
                pick(&peers.list, |peer| {
                    is_new(peer) && peer.breaker.is_admitting(now)
                })
            })
            .or_else(|| pick(&peers.list, |peer| peer.breaker.is_admitting(now)));
        let call = chosen.and_then(|peer| Call::start(self, peer, now));
        let Some(call) = call else {
            let text = format!(
                "none of {} {} nodes can be asked now",
                peers.list.len(),
                self.service
            );
            return Err(Status::unavailable(text));
        };
        if let Some(tried) = tried {
            tried.add(&call.peer().addr);
        }
        Ok(call)
    }

    /// Takes over a list that has changed: nodes that are still on it keep their
    /// state, and those that are not finish their calls.
    fn refresh(&self, peers: &mut Peers) {
        let has_changed = match peers.targets.has_changed() {
            Ok(has_changed) => has_changed,
            // The sender is gone, perhaps after a change that nobody saw yet.
            Err(_) => !std::mem::replace(&mut peers.is_final, true),
        };
        if !has_changed {
            return;
        }
        let targets = peers.targets.borrow_and_update();
        let old = std::mem::take(&mut peers.list);
        for Target { addr, draining } in targets.iter() {
            let known = old.iter().find(|peer| peer.addr == *addr).cloned();
            let peer = known.map_or_else(|| self.connect(addr), Some);
            if let Some(peer) = peer {
                peer.set_draining(*draining);
                peers.list.push(peer);
            }
        }
    }

    fn connect(&self, addr: &str) -> Option<Arc<Peer>> {
        let limits = Limits {
            failures_max: self.config.failures_max,
            open_min: self.config.open_min,
            open_max: self.config.open_max,
            probes_max: 1,
        };
        match self.client.connect(addr) {
            Ok(connection) => Some(Arc::new(Peer::new(addr, connection, limits))),
            Err(error) => {
                warn!(service = self.service, %error, "node left out");
                None
            }
        }
    }
}

/// The less busy one of two that are taken at random from those that are
/// `usable`.
fn pick(peers: &[Arc<Peer>], usable: impl Fn(&Peer) -> bool) -> Option<Arc<Peer>> {
    let (mut one, mut other): (Option<&Arc<Peer>>, Option<&Arc<Peer>>) = (None, None);
    // Each of the two places holds a random one of all that came by so far.
    for (before, peer) in peers.iter().filter(|peer| usable(peer)).enumerate() {
        match (one, other) {
            (None, _) => one = Some(peer),
            (Some(_), None) => other = Some(peer),
            (Some(_), Some(_)) => match rand::random_range(0..=before) {
                0 => one = Some(peer),
                1 => other = Some(peer),
                _ => {}
            },
        }
    }
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (only, _) => return only.cloned(),
    };
    let (one_calls, other_calls) = (one.in_flight(), other.in_flight());
    let takes_one = match one_calls.cmp(&other_calls) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => rand::random(),
        std::cmp::Ordering::Greater => false,
    };
    Some(Arc::clone(if takes_one { one } else { other }))
}

impl Service<http::Request<Body>> for Balanced {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Which node it is to be ready is only known when the call is made.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let chosen = self.shared.choose(request.extensions().get());
        Box::pin(async move {
            let call = chosen?;
            let connection = call.peer().connection.clone();
            match connection.oneshot(request).await {
                Ok(response) => Ok(call.answered(response)),
                Err(error) => {
                    call.failed();
                    Err(error)
                }
            }
        })
    }
}

impl fmt::Debug for Balanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balanced")
            .field("service", &self.shared.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
