//! Comets that call while the registry does not list them.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A comet that called this lately lives. Those that do, call every second, but
/// one logic each time; a registry lists a new one within seconds.
const CALL_COUNTS: Duration = Duration::from_secs(30);

/// When each called last.
#[derive(Debug, Default)]
pub(super) struct Callers {
    calls: Mutex<HashMap<String, Instant>>,
}

impl Callers {
    /// Notes a call; of no more than `callers_max` at a time.
    pub(super) fn called(&self, server: &str, callers_max: usize) {
        let now = Instant::now();
        let mut calls = self.calls.lock();
        if let Some(last) = calls.get_mut(server) {
            *last = now;
            return;
        }
        calls.retain(|_, last| lives(*last, now));
        if calls.len() < callers_max {
            calls.insert(server.to_owned(), now);
        }
    }

    /// Whether it called lately.
    pub(super) fn is_live(&self, server: &str) -> bool {
        let calls = self.calls.lock();
        calls
            .get(server)
            .is_some_and(|last| lives(*last, Instant::now()))
    }
}

fn lives(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) <= CALL_COUNTS
}
