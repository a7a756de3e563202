//! When a receiver was sure to be reachable.

use std::ops::Range;

use super::Expected;

/// A time in which whatever is pushed must arrive: from when joining was confirmed to when leaving began, on the
/// clock of [`now_ns`](crate::clock::now_ns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spell {
    from_ns: u64,
    until_ns: u64,
}

/// The spells of one receiver in one stream, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spells(Vec<Spell>);

impl Spells {
    /// Joining is confirmed.
    pub(crate) fn begin(&mut self, now_ns: u64) {
        self.end(now_ns);
        self.0.push(Spell {
            from_ns: now_ns,
            until_ns: u64::MAX,
        });
    }

    /// Leaving begins; nothing changes when it has begun before.
    pub(crate) fn end(&mut self, now_ns: u64) {
        if let Some(last) = self.0.last_mut() {
            last.until_ns = last.until_ns.min(now_ns);
        }
    }

    /// The messages that must arrive: those sent within a spell, but `grace_ns` before its end, because a server may
    /// answer a push before it has delivered it.
    pub(crate) fn ranges(&self, expected: &Expected, grace_ns: u64) -> Vec<Range<u32>> {
        let sent = |at_ns| expected.sent_before(at_ns);
        self.0
            .iter()
            .map(|spell| {
                let until_ns = match spell.until_ns {
                    u64::MAX => u64::MAX,
                    until_ns => until_ns.saturating_sub(grace_ns),
                };
                sent(spell.from_ns)..sent(until_ns)
            })
            .filter(|range| range.start < range.end)
            .collect()
    }
}
