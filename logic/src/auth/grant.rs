//! What a client may do, by what authenticated it.

use halley_proto::halley::node::Grant;

/// Restrictions of a client. An absent list restricts nothing, an empty one
/// allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Names of rooms; a `*` at the end of one stands for any ending.
    pub(super) rooms: Option<Vec<String>>,
    /// Operations to subscribe to.
    pub(super) ops: Option<Vec<i32>>,
    /// Unix milliseconds of the end; 0 is never.
    pub(super) expires_ms: i64,
}

impl Allowed {
    /// Whether the client may be in `room`.
    pub(super) fn room(&self, room: &str) -> bool {
        let Some(rooms) = &self.rooms else {
            return true;
        };
        rooms.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => room.starts_with(start),
            None => room == pattern,
        })
    }

    /// Whether the client may subscribe to `op`.
    pub(super) fn op(&self, op: i32) -> bool {
        self.ops.as_ref().is_none_or(|ops| ops.contains(&op))
    }

    /// Adds a room that is allowed whatever the list says.
    pub(super) fn add_room(&mut self, room: &str) {
        if !self.room(room)
            && let Some(rooms) = &mut self.rooms
        {
            rooms.push(room.to_owned());
        }
    }

    /// As comet is told; `None` when nothing is restricted.
    pub(super) fn into_grant(self) -> Option<Grant> {
        if self == Self::default() {
            return None;
        }
        Some(Grant {
            expires_ms: self.expires_ms,
            restrict_rooms: self.rooms.is_some(),
            rooms: self.rooms.unwrap_or_default(),
            restrict_ops: self.ops.is_some(),
            ops: self.ops.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(rooms: &[&str]) -> Allowed {
        Allowed {
            rooms: Some(rooms.iter().map(|&room| room.to_owned()).collect()),
            ..Allowed::default()
        }
    }

    #[test]
    fn absent_lists_restrict_nothing() {
        let allowed = Allowed::default();

        assert!(allowed.room("live://1"));
        assert!(allowed.op(9));
        assert_eq!(allowed.into_grant(), None);
    }

    #[test]
    fn empty_lists_allow_nothing() {
        let allowed = Allowed {
            ops: Some(Vec::new()),
            ..rooms(&[])
        };

        assert!(!allowed.room("live://1"));
        assert!(!allowed.op(9));
        let grant = allowed.into_grant().unwrap();
        assert!(grant.restrict_rooms && grant.restrict_ops);
    }

    #[test]
    fn a_star_at_the_end_stands_for_any_ending() {
        let allowed = rooms(&["live://*", "chat://7"]);

        assert!(allowed.room("live://1") && allowed.room("live://"));
        assert!(allowed.room("chat://7"));
        assert!(!allowed.room("livex://1"));
        assert!(!allowed.room("chat://77"));
        assert!(!allowed.room("*"));
    }

    #[test]
    fn the_star_stands_for_itself_elsewhere() {
        assert!(!rooms(&["*://1"]).room("live://1"));
    }

    #[test]
    fn an_expiry_alone_is_a_grant() {
        let allowed = Allowed {
            expires_ms: 5,
            ..Allowed::default()
        };

        let grant = allowed.into_grant().unwrap();
        assert!(!grant.restrict_rooms && !grant.restrict_ops);
        assert_eq!(grant.expires_ms, 5);
    }
}
