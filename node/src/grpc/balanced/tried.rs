use std::sync::Arc;

use parking_lot::Mutex;

/// The nodes that a call was already sent to: an extension of each of its
/// attempts, which has a [`Balanced`](super::Balanced) service ask another node
/// if there is one. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Tried(Arc<Mutex<Vec<String>>>);

impl Tried {
    pub(super) fn add(&self, addr: &str) {
        self.0.lock().push(addr.to_owned());
    }

    pub(super) fn contains(&self, addr: &str) -> bool {
        self.0.lock().iter().any(|tried| tried == addr)
    }
}
