//! What a client may do.

use halley_proto::halley::node;

/// Logic's grant, as a session checks it.
#[derive(Clone, Debug)]
pub struct Grant {
    expires_ms: i64,
    rooms: Option<Vec<String>>,
    ops: Option<Vec<i32>>,
}

impl Grant {
    /// Takes over what logic sent.
    pub fn from_proto(grant: &node::Grant) -> Self {
        Self {
            expires_ms: grant.expires_ms,
            rooms: grant.restrict_rooms.then(|| grant.rooms.clone()),
            ops: grant.restrict_ops.then(|| grant.ops.clone()),
        }
    }

    /// Whether it ends some time.
    pub fn expires(&self) -> bool {
        self.expires_ms != 0
    }

    /// Unix milliseconds when it ends, if it does.
    pub fn expires_ms(&self) -> Option<i64> {
        self.expires().then_some(self.expires_ms)
    }

    /// Whether the client may join `room`.
    pub fn allows_room(&self, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|patterns| {
            patterns
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => room.starts_with(prefix),
                    None => room == pattern,
                })
        })
    }

    /// Whether the client may subscribe to `op`.
    pub fn allows_op(&self, op: i32) -> bool {
        self.ops.as_ref().is_none_or(|ops| ops.contains(&op))
    }
}
