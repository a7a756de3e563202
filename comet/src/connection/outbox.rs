//! What waits for one connection: unicast, broadcasts and replies, and before
//! all of them the rest of a frame that was torn.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// How much may wait for one connection.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Frames.
    pub frames_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

/// A bounded queue; it does not exist while nothing waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The rest of a frame of which the socket took only the beginning; it goes
    /// out before anything else, or the stream would be torn.
    torn: Option<Waiting>,
    frames: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Bytes,
    /// Pushed messages inside; 0 for replies.
    pub(super) messages: u32,
}

impl Outbox {
    /// Queues a push, or gives back `false` when it would pass a limit.
    pub(super) fn try_push(&mut self, frame: Waiting, limits: OutboxLimits) -> bool {
        let bytes = self.bytes + frame.bytes.len();
        if self.frames.len() >= limits.frames_max || (bytes > limits.bytes_max && self.bytes > 0) {
            return false;
        }
        self.push(frame);
        true
    }

    /// Queues a reply. Replies need no limit of their own: a connection that has
    /// one waiting is not read from.
    pub(super) fn push(&mut self, frame: Waiting) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    /// Puts the rest of a torn frame before everything else.
    pub(super) fn set_torn(&mut self, rest: Waiting) {
        debug_assert!(self.torn.is_none(), "one frame is torn at a time");
        self.torn = Some(rest);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.torn.iter().chain(&self.frames)
    }

    /// Takes `written` bytes of what goes first; returns the messages that are
    /// out with them.
    pub(super) fn advance(&mut self, written: usize) -> u32 {
        let Some(mut first) = self.torn.take().or_else(|| self.pop()) else {
            return 0;
        };
        if written == first.bytes.len() {
            return first.messages;
        }
        first.bytes.advance(written);
        self.torn = Some(first);
        0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.torn.is_none() && self.frames.is_empty()
    }

    pub(super) fn has_reply(&self) -> bool {
        self.iter().any(|frame| frame.messages == 0)
    }

    pub(super) fn messages(&self) -> u64 {
        self.iter().map(|frame| u64::from(frame.messages)).sum()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(bytes: usize) -> Waiting {
        Waiting {
            bytes: Bytes::from(vec![0; bytes]),
            messages: 1,
        }
    }

    #[test]
    fn a_frame_larger_than_the_limit_passes_alone() {
        let limits = OutboxLimits {
            frames_max: 4,
            bytes_max: 10,
        };
        let mut outbox = Outbox::default();

        assert!(outbox.try_push(frame(50), limits));
        assert!(!outbox.try_push(frame(1), limits));
    }

    proptest! {
        #[test]
        fn never_reorders_and_never_exceeds_its_limits(
            steps in prop::collection::vec((any::<bool>(), 1usize..20), 1..200),
        ) {
            let limits = OutboxLimits { frames_max: 8, bytes_max: 60 };
            let mut outbox = Outbox::default();
            let mut model = VecDeque::new();
            let mut next = 0u32;
            for (push, size) in steps {
                if push {
                    let frame = Waiting { bytes: Bytes::from(vec![0; size]), messages: next };
                    if outbox.try_push(frame, limits) {
                        model.push_back((size, next));
                    }
                    next += 1;
                } else if let Some((left, messages)) = model.pop_front() {
                    let written = left.min(size);
                    let whole = if written == left { messages } else { 0 };
                    prop_assert_eq!(outbox.advance(written), whole);
                    if written < left {
                        model.push_front((left - written, messages));
                    }
                }
                let waiting = outbox.iter().map(|frame| (frame.bytes.len(), frame.messages));
                prop_assert!(waiting.eq(model.iter().copied()));
                prop_assert!(outbox.frames.len() <= limits.frames_max);
                prop_assert_eq!(
                    outbox.bytes,
                    outbox.frames.iter().map(|frame| frame.bytes.len()).sum::<usize>()
                );
                prop_assert!(outbox.bytes <= limits.bytes_max);
            }
        }
    }
}
