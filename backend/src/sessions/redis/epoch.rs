//! A number that changes when Redis may have lost what it held.

use redis::{FromRedisValue, Value, cmd};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::redis::{Redis, Unavailable};

/// Holds a random number, without a time to live: gone, everything is.
const KEY: &str = "halley:epoch";
/// How old the number may be that a question is answered with.
const FRESH: Duration = Duration::from_secs(1);

/// Tells restarts, failovers and flushes by Redis' process and by a key in it.
pub(super) struct Epoch {
    redis: Redis,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Epoch {
    pub(super) fn new(redis: Redis) -> Self {
        Self {
            redis,
            last: Mutex::default(),
        }
    }

    pub(super) async fn get(&self) -> Result<u64, Unavailable> {
        let mut last = self.last.lock().await;
        if let Some((at, epoch)) = *last
            && at.elapsed() < FRESH
        {
            return Ok(epoch);
        }
        // Nothing is remembered of an attempt that fails: Redis may be another
        // one the next time.
        *last = None;
        let at = Instant::now();
        let epoch = self.ask().await?;
        *last = Some((at, epoch));
        Ok(epoch)
    }

    async fn ask(&self) -> Result<u64, Unavailable> {
        let mut set = cmd("SET");
        set.arg(KEY).arg(rand::random::<u64>()).arg("NX");
        self.redis.query::<Value>(&set).await?;
        let mut get = cmd("GET");
        get.arg(KEY);
        let mut info = cmd("INFO");
        info.arg("server");
        let (stored, processes): (Option<u64>, _) =
            tokio::try_join!(self.redis.query(&get), self.redis.query::<Value>(&info))?;
        let stored = stored.ok_or_else(|| Unavailable("epoch vanished".to_owned()))?;
        processes_in(&processes)
            .map(|processes| stored ^ processes)
            .ok_or_else(|| Unavailable("info does not name the process".to_owned()))
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
}
