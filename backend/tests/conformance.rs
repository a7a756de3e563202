//! One suite for each seam, run against every implementation of it.

// The cases are tests, though their functions are not marked as such.
#![allow(clippy::unwrap_used)]

mod conformance {
    pub(crate) mod engines;
    pub(crate) mod push_log;
    pub(crate) mod served;
    pub(crate) mod sessions;
}

use std::sync::Arc;

use conformance::engines::kafka_logs;
use conformance::push_log::Logs;
use conformance::served::Served;
use halley_backend::push_log::{MemoryConfig, MemoryPushLog};
use halley_backend::sessions::{MemorySessions, MemorySessionsConfig, Sessions};

/// One test for each case of a suite.
macro_rules! suite {
    ($name:ident, $suite:ident, $make:expr, [$($case:ident),* $(,)?]) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $case() {
                    super::conformance::$suite::$case($make).await;
                }
            )*
        }
    };
}

macro_rules! push_log {
    ($name:ident, $make:expr) => {
        suite!(
            $name,
            push_log,
            $make,
            [
                records_arrive_in_order_until_acknowledged,
                subscribers_share_without_overtaking,
                a_dropped_ack_is_delivered_again,
                a_vanished_subscriber_leaves_all_in_place,
                a_closed_log_gives_the_rest,
                acknowledgements_made_before_close_count,
                a_drained_subscription_ends,
                a_cancelled_next_takes_nothing,
            ]
        );
    };
}

macro_rules! sessions {
    ($name:ident, $make:expr) => {
        suite!(
            $name,
            sessions,
            $make,
            [
                what_is_bound_is_found,
                the_newer_binding_of_a_key_wins,
                l1_a_late_unbind_leaves_the_newer_binding,
                a_peer_without_connection_numbers_unbinds_by_server,
                renewal_binds_again_what_is_gone,
                renewal_leaves_a_newer_binding,
                anonymous_users_are_not_found_by_user,
                r14_rooms_that_became_empty_vanish,
            ]
        );
    };
}

push_log!(memory_push_log, super::memory());
push_log!(remote_push_log, super::Served::logs().await);
push_log!(kafka_push_log, super::kafka_logs().await);
sessions!(memory_sessions, super::memory_sessions());

fn memory() -> Logs {
    let log = Arc::new(MemoryPushLog::new(MemoryConfig::default()));
    Logs {
        publisher: Arc::clone(&log) as _,
        subscriber: log,
        _served: None,
    }
}

fn memory_sessions() -> Arc<dyn Sessions> {
    Arc::new(MemorySessions::new(MemorySessionsConfig::default()))
}
