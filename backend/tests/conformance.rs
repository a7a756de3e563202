//! One suite for each seam, run against every implementation of it.

// The cases are tests, though their functions are not marked as such.
#![allow(clippy::unwrap_used)]

mod conformance {
    pub(crate) mod dedup;
    pub(crate) mod engines;
    pub(crate) mod push_log;
    pub(crate) mod redis;
    pub(crate) mod registry;
    pub(crate) mod served;
    pub(crate) mod sessions;
}

use std::sync::Arc;

use conformance::engines::kafka_logs;
use conformance::push_log::Logs;
use conformance::redis::{DedupEngine, SessionsEngine};
use conformance::registry::Known;
use conformance::served::Served;
use halley_backend::dedup::{Dedup, MemoryDedup};
use halley_backend::push_log::{MemoryConfig, MemoryPushLog};
use halley_backend::registry::{FixedComet, FixedConfig, FixedRegistry};
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

/// One test that runs the cases of a suite one after another, each with what
/// an engine gives it.
macro_rules! in_turn {
    ($name:ident, $suite:ident, $engine:expr, [$($case:ident),* $(,)?]) => {
        #[tokio::test]
        async fn $name() {
            let engine = $engine;
            $(
                println!(stringify!($case));
                conformance::$suite::$case(engine.fresh()).await;
            )*
        }
    };
}

macro_rules! sessions {
    ($how:ident, $name:ident, $make:expr) => {
        $how!(
            $name,
            sessions,
            $make,
            [
                what_is_bound_is_found,
                the_newer_binding_of_a_key_wins,
                a_late_unbind_leaves_the_newer_binding,
                the_answer_to_an_earlier_login_leaves_the_later_binding,
                the_newest_of_two_servers_in_turn_is_found,
                a_peer_without_connection_numbers_unbinds_by_server,
                a_binding_made_twice_is_one,
                renewal_binds_again_what_is_gone,
                renewal_leaves_a_newer_binding,
                a_later_connection_of_the_server_has_the_key,
                anonymous_users_are_not_found_by_user,
                rooms_that_became_empty_vanish,
                the_epoch_stays_while_nothing_is_lost,
            ]
        );
    };
}

macro_rules! registry {
    ($name:ident, $make:expr, [$($more:ident),* $(,)?]) => {
        suite!(
            $name,
            registry,
            $make,
            [
                announced_nodes_are_seen_by_all,
                a_change_of_state_is_told_at_once,
                counts_follow_with_the_renewals,
                a_closed_lease_is_over_at_once,
                a_lease_that_nobody_renews_ends,
                a_node_that_comes_back_elsewhere_is_noticed,
                an_emptied_registry_loses_nobody,
                nodes_stay_while_the_registry_is_away,
                a_node_is_announced_when_the_registry_comes,
                watches_end_with_their_registry,
                $($more),*
            ]
        );
    };
}

macro_rules! dedup {
    ($how:ident, $name:ident, $make:expr) => {
        $how!(
            $name,
            dedup,
            $make,
            [
                an_answer_is_given_again,
                one_claims_at_a_time,
                a_claim_that_ended_takes_nothing_from_the_next,
                answers_end,
            ]
        );
    };
}

push_log!(memory_push_log, super::memory());
push_log!(remote_push_log, super::Served::logs().await);
push_log!(kafka_push_log, super::kafka_logs().await);
sessions!(suite, memory_sessions, super::memory_sessions());
sessions!(in_turn, redis_sessions, SessionsEngine::server());
sessions!(in_turn, redis_cluster_sessions, SessionsEngine::cluster());
registry!(
    discovery_registry,
    super::conformance::registry::discovery::announced().await,
    []
);
registry!(
    redis_registry,
    super::conformance::registry::redis::announced(),
    [of_namesakes_the_one_that_started_last_counts]
);
suite!(
    fixed_registry,
    registry,
    super::fixed_registry(),
    [known_nodes_are_seen, watches_end_with_what_knows]
);
suite!(
    dns_registry,
    registry,
    super::conformance::registry::dns::known().await,
    [known_nodes_are_seen, watches_end_with_what_knows]
);
dedup!(suite, memory_dedup, super::memory_dedup());
dedup!(in_turn, redis_dedup, DedupEngine::server());
dedup!(in_turn, redis_cluster_dedup, DedupEngine::cluster());

fn memory_dedup() -> Arc<dyn Dedup> {
    Arc::new(MemoryDedup::new(conformance::dedup::config()))
}

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

fn fixed_registry() -> Known {
    let comet = |server: &str| FixedComet {
        server: server.to_owned(),
        addr: format!("{server}.internal:3109"),
    };
    let config = FixedConfig {
        comets: vec![comet("b"), comet("a")],
        ..FixedConfig::default()
    };
    Known {
        registry: Arc::new(FixedRegistry::new(&config).unwrap()),
        _server: None,
    }
}
