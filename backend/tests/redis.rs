//! The shared connection against a real Redis: it fails in time while that is
//! away, and comes back by itself.

// Helpers of tests are not marked as tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_backend::redis::{Config, Redis, Script, TlsConfig, Unavailable};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use certificate::Certificate;

#[path = "support/certificate.rs"]
mod certificate;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(url: &str) -> Config {
    Config {
        urls: [url].into_iter().collect(),
        reconnect: Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
        },
        ..Config::default()
    }
}

async fn ping(redis: &Redis) -> Result<String, Unavailable> {
    redis.query(&redis::cmd("PING")).await
}

/// Waits until a ping is answered.
async fn answers(redis: &Redis) {
    let pings = async {
        while ping(redis).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, pings).await.expect("redis answers again");
}

#[tokio::test]
async fn commands_fail_while_redis_is_away_and_work_when_it_is_back() {
    let mut engine = halley_engines::Redis::start().unwrap();
    let redis = Redis::new(&config(&engine.url())).unwrap();
    let script = Script::new("return ARGV[1] + 1");
    assert_eq!(redis.run::<i64>(&script, &[], 1).await, Ok(2));

    engine.kill();
    let start = Instant::now();
    assert!(ping(&redis).await.is_err());
    assert!(start.elapsed() < Config::default().connect_timeout);
    engine.restart().unwrap();

    answers(&redis).await;
    assert_eq!(redis.run::<i64>(&script, &[], 2).await, Ok(3));
}

#[tokio::test]
async fn a_redis_that_restarted_unnoticed_answers_the_first_command() {
    let mut engine = halley_engines::Redis::start().unwrap();
    let redis = Redis::new(&config(&engine.url())).unwrap();
    answers(&redis).await;

    engine.restart().unwrap();

    assert_eq!(ping(&redis).await.as_deref(), Ok("PONG"));
}

#[tokio::test]
async fn a_hung_redis_costs_the_deadline_and_no_more() {
    let engine = halley_engines::Redis::start().unwrap();
    let redis = Redis::new(&Config {
        connect_timeout: Duration::from_millis(100),
        response_timeout: Duration::from_millis(100),
        ..config(&engine.url())
    })
    .unwrap();
    answers(&redis).await;
    let mut busy = redis::cmd("EVAL");
    busy.arg("while true do end").arg(0);

    for _ in 0..3 {
        let start = Instant::now();
        assert!(redis.query::<()>(&busy).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_commands() {
    let engine = halley_engines::Redis::start().unwrap();
    let redis = Redis::new(&config(&engine.url())).unwrap();
    let echoes: Vec<redis::Cmd> = (0..1000)
        .map(|n| redis::cmd("ECHO").arg(n).to_owned())
        .collect();

    let answers: Vec<i64> = redis.query_all(&echoes).await.unwrap();

    assert_eq!(answers, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cluster_is_asked_as_one() {
    let engine = halley_engines::RedisCluster::start().unwrap();
    let redis = Redis::new(&Config {
        urls: engine.urls().into_iter().take(1).collect(),
        cluster: true,
        ..Config::default()
    })
    .unwrap();
    let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
    for n in 0..100 {
        let key = [format!("key-{n}")];
        redis.run::<()>(&script, &key, n).await.unwrap();
    }
    let gets: Vec<redis::Cmd> = (0..100)
        .map(|n| redis::cmd("GET").arg(format!("key-{n}")).to_owned())
        .collect();

    let answers: Vec<i64> = redis.query_all(&gets).await.unwrap();

    assert_eq!(answers, (0..100).collect::<Vec<_>>());
}

/// A certificate and its authority in files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let made = Certificate::new();
        let files = Self(TempDir::new().unwrap());
        fs::write(files.path("ca"), made.authority).unwrap();
        fs::write(files.path("cert"), made.chain).unwrap();
        fs::write(files.path("key"), made.key).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> TlsConfig {
        TlsConfig {
            ca_file: Some(self.path("ca")),
            cert_file: Some(self.path("cert")),
            key_file: Some(self.path("key")),
        }
    }
}

#[tokio::test]
async fn tls_is_spoken_with_the_right_authority_and_certificate_only() {
    let files = Files::new();
    let engine = halley_engines::Redis::start_with_tls(
        &files.path("ca"),
        &files.path("cert"),
        &files.path("key"),
    )
    .unwrap();
    let url = engine.tls_url().unwrap();
    let redis = |tls| {
        Redis::new(&Config {
            tls,
            ..config(&url)
        })
        .unwrap()
    };
    let other = Files::new();
    let stranger = TlsConfig {
        ca_file: Some(other.path("ca")),
        ..files.config()
    };
    let nobody = TlsConfig {
        cert_file: None,
        key_file: None,
        ..files.config()
    };

    assert_eq!(ping(&redis(files.config())).await.as_deref(), Ok("PONG"));
    assert!(ping(&redis(nobody)).await.is_err());
    assert!(ping(&redis(stranger)).await.is_err());
}

#[test]
fn files_that_do_not_hold_what_they_should_are_refused() {
    let files = Files::new();
    let refusal = |tls| {
        let config = Config {
            tls,
            ..config("rediss://127.0.0.1:1")
        };
        Redis::new(&config).unwrap_err().to_string()
    };

    fs::write(files.path("key"), "no key").unwrap();
    let refused = refusal(files.config());
    assert!(refused.starts_with("redis.tls cannot be used"), "{refused}");
    let missing = TlsConfig {
        ca_file: Some(files.path("missing")),
        ..TlsConfig::default()
    };
    let refused = refusal(missing);
    assert!(refused.contains("missing"), "{refused}");
}
