//! Whether a connection is to be closed, in one byte.

use std::sync::atomic::{AtomicU8, Ordering};

use halley_wire::CloseReason;

/// The first reason that somebody gave; it stays.
#[derive(Debug, Default)]
pub(super) struct Closing(AtomicU8);

/// No reason yet. Reasons are numbered from one.
const OPEN: u8 = 0;

impl Closing {
    pub(super) fn set(&self, reason: CloseReason) {
        let place = CloseReason::ALL.iter().position(|other| *other == reason);
        let number = place.and_then(|place| u8::try_from(place + 1).ok());
        let number = number.expect("invariant: every reason is in the list, which is short");
        // Fails if there is a reason already.
        let _ = self
            .0
            .compare_exchange(OPEN, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<CloseReason> {
        let number = self.0.load(Ordering::Relaxed);
        let place = usize::from(number).checked_sub(1)?;
        CloseReason::ALL.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        for reason in CloseReason::ALL {
            let closing = Closing::default();
            assert_eq!(closing.get(), None);

            closing.set(reason);
            closing.set(CloseReason::Internal);

            assert_eq!(closing.get(), Some(reason));
        }
    }
}
