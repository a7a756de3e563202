//! Frames that wait for one connection: unicast, broadcasts and replies.

use std::collections::VecDeque;

use bytes::Bytes;

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

    /// Queues a reply. Replies need no limit of their own: a connection whose
    /// replies wait is not read from.
    pub(super) fn push(&mut self, frame: Waiting) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.frames.iter()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn messages(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| u64::from(frame.messages))
            .sum()
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
                } else {
                    let popped = outbox.pop().map(|frame| (frame.bytes.len(), frame.messages));
                    prop_assert_eq!(popped, model.pop_front());
                }
                prop_assert!(model.len() <= limits.frames_max);
                prop_assert_eq!(outbox.bytes, model.iter().map(|(size, _)| size).sum::<usize>());
                prop_assert!(outbox.bytes <= limits.bytes_max);
            }
        }
    }
}
