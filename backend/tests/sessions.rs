//! Sessions in a real Redis: what lies there is what goim's logic writes and
//! reads, and Redis may die, come back empty or be flushed at any time.

// What the cases share are tests, though it is not marked as such.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_backend::backoff::Backoff;
use halley_backend::redis::{Config, Redis};
use halley_backend::registry::Snapshot;
use halley_backend::sessions::{
    Binding, RedisSessions, RedisSessionsConfig, Sessions, SessionsError,
};
use halley_proto::halley::node::NodeStatus;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Setup {
    engine: halley_engines::Redis,
    redis: Redis,
    sessions: RedisSessions,
}

impl Setup {
    fn start() -> Self {
        Self::knowing(None)
    }

    fn knowing(comets: Option<watch::Receiver<Snapshot>>) -> Self {
        let engine = halley_engines::Redis::start().unwrap();
        let redis = Redis::new(&Config {
            urls: [engine.url()].into_iter().collect(),
            reconnect: Backoff {
                min: Duration::from_millis(10),
                max: Duration::from_millis(100),
            },
            ..Config::default()
        })
        .unwrap();
        let config = RedisSessionsConfig {
            expire: Duration::from_mins(30),
            ..RedisSessionsConfig::default()
        };
        Self {
            sessions: RedisSessions::new(redis.clone(), &config, comets),
            engine,
            redis,
        }
    }

    /// Sends a command as another program would.
    async fn call<T: redis::FromRedisValue>(&self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        cmd.arg(words.collect::<Vec<_>>());
        self.redis.query(&cmd).await.unwrap()
    }

    async fn server_of(&self, key: &str) -> Option<Arc<str>> {
        let mut found = self.sessions.of_keys(&[key.to_owned()]).await.unwrap();
        found.pop().unwrap()
    }

    async fn of_mid(&self, mid: i64) -> Vec<(String, Arc<str>)> {
        let mut found = self.sessions.of_mids(&[mid]).await.unwrap();
        found.pop().unwrap()
    }
}

fn binding(mid: i64, key: &str, server: &str, connection: u64) -> Binding {
    Binding {
        mid,
        key: key.to_owned(),
        server: server.to_owned(),
        connection,
    }
}

fn now_secs() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

/// Waits until the sessions tell another epoch than `before`.
async fn another_epoch(sessions: &RedisSessions, before: u64) {
    let change = async {
        loop {
            match sessions.epoch().await {
                Ok(epoch) if epoch != Some(before) => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, change).await.expect("the epoch changes");
}

#[tokio::test]
async fn bindings_lie_as_goim_lays_them() {
    let setup = Setup::start();
    setup
        .sessions
        .bind(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();
    setup
        .sessions
        .bind(binding(0, "anonymous", "comet-2", 4))
        .await
        .unwrap();

    assert_eq!(setup.call::<String>("GET key_k").await, "comet-1");
    assert_eq!(setup.call::<String>("GET key_anonymous").await, "comet-2");
    let user: Vec<(String, String)> = setup.call("HGETALL mid_7").await;
    assert_eq!(user, [("k".to_owned(), "comet-1".to_owned())]);
    assert_eq!(setup.call::<String>("GET conn_k").await, "comet-1 3 7");
    for key in ["key_k", "mid_7", "conn_k"] {
        let ttl: u64 = setup.call(&format!("TTL {key}")).await;
        assert!((1790..=1800).contains(&ttl), "{key}: {ttl}");
    }
    assert_eq!(setup.call::<u32>("DBSIZE").await, 5);

    setup.call::<()>("EXPIRE key_k 5").await;
    setup
        .sessions
        .renew(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();
    assert!(setup.call::<u64>("TTL key_k").await > 1700);

    assert!(
        setup
            .sessions
            .unbind_if(7, "k", "comet-1", Some(3))
            .await
            .unwrap()
    );
    assert_eq!(
        setup.call::<Vec<String>>("KEYS *k*").await,
        ["key_anonymous"]
    );
}

#[tokio::test]
async fn what_a_go_logic_bound_is_found_renewed_and_unbound() {
    let setup = Setup::start();
    setup
        .sessions
        .bind(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();
    // The client moves by way of a Go logic.
    for command in [
        "HSET mid_7 k comet-2",
        "EXPIRE mid_7 1800",
        "SET key_k comet-2 EX 9",
    ] {
        setup.call::<redis::Value>(command).await;
    }

    let unbound = setup.sessions.unbind_if(7, "k", "comet-1", Some(3)).await;
    assert!(!unbound.unwrap(), "the old connection");
    assert_eq!(setup.server_of("k").await.as_deref(), Some("comet-2"));
    assert_eq!(
        setup.of_mid(7).await,
        [("k".to_owned(), Arc::from("comet-2"))]
    );

    setup
        .sessions
        .renew(binding(7, "k", "comet-2", 0))
        .await
        .unwrap();
    assert!(setup.call::<u64>("TTL key_k").await > 1700);
    setup.call::<()>("DEL conn_k").await;
    assert!(
        setup
            .sessions
            .unbind_if(7, "k", "comet-2", Some(5))
            .await
            .unwrap()
    );
    assert_eq!(setup.server_of("k").await, None);
}

#[tokio::test]
async fn a_go_logic_that_bound_on_the_same_comet_leaves_an_earlier_number() {
    let setup = Setup::start();
    setup
        .sessions
        .bind(binding(7, "k", "comet-1", 9))
        .await
        .unwrap();
    for command in [
        "HSET mid_8 k comet-1",
        "EXPIRE mid_8 1800",
        "SET key_k comet-1 EX 9",
    ] {
        setup.call::<redis::Value>(command).await;
    }

    for late in [
        binding(8, "k", "comet-1", 10),
        binding(7, "k", "comet-1", 9),
    ] {
        setup.sessions.renew(late).await.unwrap();
        assert!(setup.call::<u64>("TTL key_k").await > 1700);
        assert_eq!(setup.call::<String>("GET conn_k").await, "comet-1 10 8");
    }
    assert_eq!(
        setup.of_mid(8).await,
        [("k".to_owned(), Arc::from("comet-1"))]
    );
    assert!(setup.of_mid(7).await.is_empty());

    // Once more, and it ends before it is renewed.
    setup.call::<()>("SET key_k comet-1 EX 9").await;
    let unbound = setup.sessions.unbind_if(7, "k", "comet-1", Some(9)).await;
    assert!(!unbound.unwrap(), "the old connection");
    let unbound = setup.sessions.unbind_if(8, "k", "comet-1", Some(11)).await;
    assert!(unbound.unwrap());
    assert!(setup.call::<Vec<String>>("KEYS *_k").await.is_empty());
}

#[tokio::test]
async fn keys_that_ended_or_changed_hands_are_not_the_users() {
    let setup = Setup::start();
    for key in ["alive", "dead", "taken"] {
        setup
            .sessions
            .bind(binding(7, key, "comet-1", 1))
            .await
            .unwrap();
    }
    setup.call::<()>("DEL key_dead conn_dead").await;
    setup
        .sessions
        .bind(binding(8, "taken", "comet-1", 2))
        .await
        .unwrap();
    // And one that a Go logic gave to another user.
    for command in ["HSET mid_7 gone comet-1", "SET key_gone comet-2"] {
        setup.call::<redis::Value>(command).await;
    }

    assert_eq!(
        setup.of_mid(7).await,
        [("alive".to_owned(), Arc::from("comet-1"))]
    );
    assert_eq!(
        setup.of_mid(8).await,
        [("taken".to_owned(), Arc::from("comet-1"))]
    );
}

#[tokio::test]
async fn online_counts_lie_as_goim_lays_them() {
    let setup = Setup::start();
    let rooms = |count| HashMap::from([("live://1000".to_owned(), count)]);
    let before = now_secs();
    setup
        .sessions
        .set_online("comet-1", rooms(2))
        .await
        .unwrap();

    let fields: Vec<(u32, String)> = setup.call("HGETALL ol_comet-1").await;
    let [(field, json)] = &fields[..] else {
        panic!("{fields:?}");
    };
    assert_eq!(
        *field,
        halley_backend::goim_hash::cityhash32(b"live://1000") % 64
    );
    let prefix = r#"{"server":"comet-1","room_count":{"live://1000":2},"updated":"#;
    let updated = json
        .strip_prefix(prefix)
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    assert!((before..=now_secs()).contains(&updated.parse().unwrap()));
    assert!(setup.call::<u64>("TTL ol_comet-1").await > 1700);

    setup
        .sessions
        .set_online("comet-1", HashMap::new())
        .await
        .unwrap();
    assert_eq!(setup.call::<u32>("EXISTS ol_comet-1").await, 0);
}

#[tokio::test]
async fn counts_of_a_go_logic_are_read_for_the_comets_that_are_known() {
    let node = NodeStatus {
        hostname: "comet-1".to_owned(),
        ..NodeStatus::default()
    };
    let comets: Snapshot = Some(Arc::from([node]));
    let (_comets, known) = watch::channel(comets);
    let setup = Setup::knowing(Some(known));
    let now = now_secs();
    for (server, field, rooms, updated) in [
        ("comet-1", 1, r#"{"live://1":2}"#, now),
        ("comet-1", 2, r#"{"live://2":3}"#, now - 60),
        ("comet-2", 1, r#"{"live://1":9}"#, now),
    ] {
        let json = format!(r#"{{"server":"{server}","room_count":{rooms},"updated":{updated}}}"#);
        setup
            .call::<()>(&format!("HSET ol_{server} {field} {json}"))
            .await;
    }

    let totals = setup.sessions.online().await.unwrap();
    assert_eq!(totals, HashMap::from([("live://1".to_owned(), 2)]));

    let old = r#"{"server":"comet-1","room_count":{"live://1":2},"updated":1000}"#;
    setup
        .call::<()>(&format!("HSET ol_comet-1 1 {old} 2 {old}"))
        .await;
    assert!(setup.sessions.online().await.unwrap().is_empty());
    assert_eq!(
        setup.call::<u32>("EXISTS ol_comet-1").await,
        1,
        "r14: deleted"
    );
}

#[tokio::test]
async fn a_push_by_key_costs_one_command() {
    const PUSHES: usize = 200;
    let setup = Setup::start();
    setup
        .sessions
        .bind(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();
    setup.call::<()>("CONFIG RESETSTAT").await;

    for _ in 0..PUSHES {
        assert!(setup.server_of("k").await.is_some());
    }

    let stats: String = setup.call("INFO commandstats").await;
    println!("{stats}");
    let commands: Vec<&str> = stats
        .lines()
        .filter(|line| line.starts_with("cmdstat_"))
        .collect();
    let mget = format!("cmdstat_mget:calls={PUSHES},");
    assert!(commands.iter().any(|line| line.starts_with(&mget)));
    let others = commands.iter().filter(|line| !line.starts_with(&mget));
    assert!(
        others
            .clone()
            .all(|line| line.starts_with("cmdstat_config")),
        "{others:?}"
    );
}

#[tokio::test]
async fn a_redis_that_dies_and_returns_empty_is_told_by_the_epoch() {
    let mut setup = Setup::start();
    let before = setup.sessions.epoch().await.unwrap().unwrap();
    setup
        .sessions
        .bind(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();

    setup.engine.kill();
    let start = Instant::now();
    let found = setup.sessions.of_keys(&["k".to_owned()]).await;
    let unbound = setup.sessions.unbind_if(7, "k", "comet-1", Some(3)).await;
    assert!(matches!(found, Err(SessionsError::Unavailable(_))));
    assert!(matches!(unbound, Err(SessionsError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_secs(2));
    setup.engine.restart().unwrap();

    another_epoch(&setup.sessions, before).await;
    assert_eq!(setup.server_of("k").await, None);
    setup
        .sessions
        .renew(binding(7, "k", "comet-1", 3))
        .await
        .unwrap();
    assert_eq!(setup.server_of("k").await.as_deref(), Some("comet-1"));
}

#[tokio::test]
async fn a_flush_is_told_by_the_epoch_and_nothing_else_is() {
    let setup = Setup::start();
    let other = RedisSessions::new(setup.redis.clone(), &RedisSessionsConfig::default(), None);
    let before = setup.sessions.epoch().await.unwrap();
    assert_eq!(
        other.epoch().await.unwrap(),
        before,
        "all logics tell the same"
    );
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(setup.sessions.epoch().await.unwrap(), before);

    setup.engine.flush_all().unwrap();

    another_epoch(&setup.sessions, before.unwrap()).await;
}

#[tokio::test]
async fn a_redis_that_does_not_allow_info_still_tells_a_flush() {
    let setup = Setup::start();
    setup
        .call::<()>("ACL SETUSER halley on >secret ~* &* +@all -info")
        .await;
    let redis = Redis::new(&Config {
        urls: [setup.engine.url().replace("//", "//halley:secret@")]
            .into_iter()
            .collect(),
        ..Config::default()
    })
    .unwrap();
    let [sessions, other] = [redis.clone(), redis]
        .map(|redis| RedisSessions::new(redis, &RedisSessionsConfig::default(), None));
    let before = sessions.epoch().await.unwrap();
    assert_eq!(other.epoch().await.unwrap(), before);

    setup.engine.flush_all().unwrap();

    another_epoch(&sessions, before.unwrap()).await;
}

#[tokio::test]
async fn a_cluster_tells_the_restart_of_one_master_and_a_flush() {
    let mut engine = halley_engines::RedisCluster::start().unwrap();
    let redis = Redis::new(&Config {
        urls: engine.urls().into_iter().collect(),
        cluster: true,
        ..Config::default()
    })
    .unwrap();
    let sessions = RedisSessions::new(redis, &RedisSessionsConfig::default(), None);
    let first = sessions.epoch().await.unwrap().unwrap();
    let bindings: Vec<Binding> = (0..100)
        .map(|n| binding(7, &format!("k-{n}"), "comet-1", n))
        .collect();
    for binding in &bindings {
        sessions.bind(binding.clone()).await.unwrap();
    }

    engine.restart(1).unwrap();
    another_epoch(&sessions, first).await;
    for binding in &bindings {
        sessions.renew(binding.clone()).await.unwrap();
    }
    let found = sessions.of_mids(&[7]).await.unwrap();
    assert_eq!(found[0].len(), bindings.len());

    let second = sessions.epoch().await.unwrap().unwrap();
    engine.flush_all().unwrap();
    another_epoch(&sessions, second).await;
}
