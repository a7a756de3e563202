//! A number that changes when Redis may have lost what it held.

use redis::{FromRedisValue, Value, cmd};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::redis::{Redis, Unavailable};

/// Holds a random number, without a time to live: gone, everything is.
const KEY: &str = "halley:epoch";
/// How old the number may be that a question is answered with.
const FRESH: Duration = Duration::from_secs(1);

/// Tells restarts, failovers and flushes by Redis' process and by a key in it;
/// where the process is not to be had, what the key did not survive.
pub(super) struct Epoch {
    redis: Redis,
    attempts: Attempts,
}

/// What there is to tell one Redis from another.
#[derive(Clone, Copy)]
struct Signs {
    /// What the key holds.
    stored: u64,
    /// Of the process or the masters. All logics have it or none: one that has
    /// failed to ask must not tell another number than those that did.
    processes: Option<u64>,
}

impl Epoch {
    pub(super) fn new(redis: Redis) -> Self {
        Self {
            redis,
            attempts: Attempts::default(),
        }
    }

    pub(super) async fn get(&self) -> Result<u64, Unavailable> {
        self.attempts.share(|| self.ask()).await
    }

    async fn ask(&self) -> Result<Signs, Unavailable> {
        let mut set = cmd("SET");
        set.arg(KEY).arg(rand::random::<u64>()).arg("NX");
        self.redis.query::<Value>(&set).await?;
        let mut get = cmd("GET");
        get.arg(KEY);
        let mut info = cmd("INFO");
        info.arg("server");
        let (stored, info): (Option<u64>, _) = tokio::try_join!(
            self.redis.query(&get),
            self.redis.query_if_allowed::<Value>(&info)
        )?;
        Ok(Signs {
            stored: stored.ok_or_else(|| Unavailable("epoch vanished".to_owned()))?,
            processes: info.as_ref().and_then(processes_in),
        })
    }
}

impl Signs {
    fn epoch(self) -> u64 {
        self.stored ^ self.processes.unwrap_or(0)
    }
}

/// One attempt at a time, which answers all who come meanwhile.
#[derive(Default)]
struct Attempts(Mutex<Last>);

#[derive(Default)]
struct Last {
    /// When the last attempt began or, if it failed, when it ended.
    result: Option<(Instant, Result<u64, Unavailable>)>,
    tells: Tells,
}

/// Which losses the comets hear of.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Tells {
    #[default]
    All,
    Flushes,
    Nothing,
}

impl Attempts {
    async fn share<F>(&self, ask: impl FnOnce() -> F) -> Result<u64, Unavailable>
    where
        F: Future<Output = Result<Signs, Unavailable>>,
    {
        let came = Instant::now();
        let mut last = self.0.lock().await;
        match &last.result {
            Some((began, Ok(epoch))) if began.elapsed() < FRESH => return Ok(*epoch),
            // A failure is of those who waited for it only: Redis may be another
            // one the next time.
            Some((ended, Err(error))) if *ended > came => return Err(error.clone()),
            _ => {}
        }
        let began = Instant::now();
        let signs = ask().await;
        last.note(&signs);
        let at = if signs.is_ok() { began } else { Instant::now() };
        let epoch = signs.map(Signs::epoch);
        last.result = Some((at, epoch.clone()));
        epoch
    }
}

impl Last {
    /// Says once what is wrong, and once that it is over.
    fn note(&mut self, signs: &Result<Signs, Unavailable>) {
        let before = std::mem::replace(&mut self.tells, Tells::by(signs));
        match signs {
            _ if self.tells == before => {}
            Ok(Signs {
                processes: Some(_), ..
            }) => {
                tracing::info!("redis tells again what may have lost bindings");
            }
            Ok(_) => {
                tracing::warn!(
                    "redis does not name its process, INFO is refused or without run_id: \
                     comets bind anew after a flush, not after a failover that lost bindings"
                );
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the sessions' epoch cannot be read: until it can, comets do not bind \
                     anew what redis loses"
                );
            }
        }
    }
}

impl Tells {
    fn by(signs: &Result<Signs, Unavailable>) -> Self {
        match signs {
            Ok(Signs {
                processes: Some(_), ..
            }) => Self::All,
            Ok(_) => Self::Flushes,
            Err(_) => Self::Nothing,
        }
    }
}

/// The identities of one process, or of all masters of a cluster, as one
/// number.
fn processes_in(info: &Value) -> Option<u64> {
    if let Value::Map(masters) = info {
        let mut processes = masters.iter().map(|(_, info)| processes_in(info));
        return processes.try_fold(0, |all, process| Some(all ^ process?));
    }
    process_in(&String::from_redis_value_ref(info).ok()?)
}

/// The random identity that a Redis process gives itself: 40 hexadecimal digits,
/// of which the first 16 do.
fn process_in(info: &str) -> Option<u64> {
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    u64::from_str_radix(id.get(..16)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    fn info(id: &str) -> Value {
        let text = format!("# Server\r\nredis_version:7.0.0\r\nrun_id:{id}\r\ntcp_port:1\r\n");
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn every_master_counts() {
        let [a, b] = ["00000000000000ff", "000000000000ff00"].map(|id| format!("{id:0<40}"));
        let masters = |ids: [&str; 2]| {
            let named = ids.map(|id| (Value::SimpleString("address".to_owned()), info(id)));
            Value::Map(named.to_vec())
        };

        assert_eq!(processes_in(&info(&a)), Some(0xff));
        assert_eq!(processes_in(&masters([&a, &b])), Some(0xffff));
        assert_eq!(processes_in(&masters([&b, &a])), Some(0xffff));
        assert_eq!(processes_in(&masters([&b, "?"])), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_attempt_shares_its_failure() {
        let attempts = Attempts::default();
        let made = AtomicU32::new(0);
        let fail = || async {
            made.fetch_add(1, Ordering::Relaxed);
            sleep(FRESH).await;
            Err::<Signs, Unavailable>(Unavailable("away".to_owned()))
        };

        let waited = join_all((0..10).map(|_| attempts.share(fail))).await;
        assert!(waited.iter().all(Result::is_err));
        assert_eq!(made.load(Ordering::Relaxed), 1);

        assert!(attempts.share(fail).await.is_err());
        assert_eq!(made.load(Ordering::Relaxed), 2, "who comes later asks");
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_as_far_as_they_can_be() {
        let attempts = Attempts::default();
        let known = |processes| Signs {
            stored: 0xf0,
            processes,
        };
        let away = Err(Unavailable("away".to_owned()));
        for (signs, epoch, tells) in [
            (Ok(known(Some(0xff))), Ok(0x0f), Tells::All),
            (Ok(known(None)), Ok(0xf0), Tells::Flushes),
            (away.clone(), away.clone().map(Signs::epoch), Tells::Nothing),
        ] {
            assert_eq!(attempts.share(|| ready(signs)).await, epoch);
            assert!(attempts.0.lock().await.tells == tells);
            tokio::time::advance(FRESH).await;
        }
    }
}
