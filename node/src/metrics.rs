use std::sync::Arc;

use parking_lot::Mutex;
pub use prometheus_client::registry::Registry;

/// The registry of a process. Roles register typed handles in it once, while
/// they are built, and keep the handles: the lock is never on a hot path.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// Everything registered, in Prometheus' text format.
pub fn encode(registry: &SharedRegistry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry.lock())
        .expect("invariant: writing to a String never fails");
    text
}
