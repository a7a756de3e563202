//! How much may be on its way at a time.

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Budget {
    records_max: usize,
    bytes_max: usize,
    taken: Mutex<Taken>,
    emptied: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    records: usize,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            records_max,
            bytes_max,
            taken: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    /// Whether that much could be taken if nothing else was.
    pub(super) fn could_take(&self, records: usize, bytes: usize) -> bool {
        records <= self.records_max && bytes <= self.bytes_max
    }

    /// Takes all of it, or nothing.
    pub(super) fn take(&self, records: usize, bytes: usize) -> bool {
        let mut taken = self.taken.lock();
        let fits =
            taken.records + records <= self.records_max && taken.bytes + bytes <= self.bytes_max;
        if fits {
            taken.records += records;
            taken.bytes += bytes;
        }
        fits
    }

    pub(super) fn give_back(&self, records: usize, bytes: usize) {
        let mut taken = self.taken.lock();
        taken.records -= records;
        taken.bytes -= bytes;
        if taken.records == 0 {
            self.emptied.notify_waiters();
        }
    }

    pub(super) fn taken(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        (taken.records, taken.bytes)
    }

    /// Returns when nothing is taken.
    pub(super) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.taken.lock().records == 0 {
                return;
            }
            emptied.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_is_taken() {
        let budget = Budget::new(3, 100);

        assert!(budget.take(2, 60));
        assert!(!budget.take(2, 10), "too many records");
        assert!(!budget.take(1, 41), "too many bytes");
        assert!(budget.take(1, 40));
        assert_eq!(budget.taken(), (3, 100));
        budget.give_back(2, 60);
        assert_eq!(budget.taken(), (1, 40));
        assert!(!budget.could_take(4, 0) && !budget.could_take(0, 101));
    }
}
