//! Names of servers, each stored once and never forgotten.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Counted from 1: what holds an id has room for there being none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerId(NonZeroU32);

#[derive(Default)]
pub(super) struct Servers {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, ServerId>,
}

impl Servers {
    pub(super) fn find(&self, name: &str) -> Option<ServerId> {
        self.ids.get(name).copied()
    }

    /// The id of `name`, new if need be; `None` when there are `servers_max`.
    pub(super) fn add(&mut self, name: &str, servers_max: usize) -> Option<ServerId> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        if self.names.len() >= servers_max {
            return None;
        }
        let number = u32::try_from(self.names.len() + 1).ok()?;
        let id = ServerId(NonZeroU32::new(number)?);
        let name = Arc::<str>::from(name);
        self.names.push(Arc::clone(&name));
        self.ids.insert(name, id);
        Some(id)
    }

    pub(super) fn name(&self, id: ServerId) -> Arc<str> {
        Arc::clone(&self.names[id.0.get() as usize - 1])
    }
}
