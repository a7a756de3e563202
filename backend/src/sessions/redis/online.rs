//! Members of each room, as goim keeps them: for each server a hash of 64
//! fields, each the JSON of the rooms whose name hashes to it.
//!
//! Unlike goim's logic this one removes fields that became empty, and never
//! deletes what another wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::{Cmd, Value, cmd};
use serde::{Deserialize, Serialize};

use crate::goim_hash::cityhash32;
use crate::redis::{Redis, Unavailable};

/// goim's number of fields.
const FIELDS: u32 = 64;
/// The servers that told their rooms, by when they did.
const SERVERS: &str = "halley:online";
/// Fields of a server this much older than its newest are not of the same
/// telling: a Go logic left them behind when their rooms became empty.
const TELLING_SECS: i64 = 15;

pub(super) struct Online {
    redis: Redis,
    expire_secs: u64,
    told_expire: Duration,
}

/// A field, with the names of goim's JSON.
#[derive(Deserialize)]
struct Field {
    room_count: HashMap<String, i32>,
    /// Unix seconds.
    updated: i64,
}

#[derive(Serialize)]
struct FieldRef<'a> {
    server: &'a str,
    room_count: BTreeMap<&'a str, i32>,
    updated: i64,
}

impl Online {
    pub(super) fn new(redis: Redis, expire_secs: u64, told_expire: Duration) -> Self {
        Self {
            redis,
            expire_secs,
            told_expire,
        }
    }

    /// Replaces what is known of `server`.
    pub(super) async fn set(
        &self,
        server: &str,
        rooms: &HashMap<String, i32>,
    ) -> Result<(), Unavailable> {
        let now = now_secs();
        let hash = hash_of(server);
        let mut cmds = if rooms.is_empty() {
            vec![cmd("DEL").arg(hash).to_owned()]
        } else {
            self.write(&hash, server, rooms, now)
        };
        cmds.push(cmd("ZADD").arg(SERVERS).arg(now).arg(server).to_owned());
        let oldest = now.saturating_sub_unsigned(self.expire_secs);
        let mut forget = cmd("ZREMRANGEBYSCORE");
        cmds.push(forget.arg(SERVERS).arg("-inf").arg(oldest).to_owned());
        self.redis.query_all::<Value>(&cmds).await?;
        Ok(())
    }

    fn write(&self, hash: &str, server: &str, rooms: &HashMap<String, i32>, now: i64) -> Vec<Cmd> {
        let mut fields: BTreeMap<u32, BTreeMap<&str, i32>> = BTreeMap::new();
        for (room, &count) in rooms {
            let field = fields.entry(cityhash32(room.as_bytes()) % FIELDS);
            field.or_default().insert(room, count);
        }
        let mut set = cmd("HSET");
        set.arg(hash);
        let mut remove = cmd("HDEL");
        remove.arg(hash);
        let used = fields.len();
        for number in 0..FIELDS {
            match fields.remove(&number) {
                Some(room_count) => {
                    let field = FieldRef {
                        server,
                        room_count,
                        updated: now,
                    };
                    let json = serde_json::to_string(&field);
                    set.arg(number)
                        .arg(json.expect("invariant: names and numbers are JSON"));
                }
                None => {
                    remove.arg(number);
                }
            }
        }
        let mut cmds = vec![set];
        if used < FIELDS as usize {
            cmds.push(remove);
        }
        cmds.push(cmd("EXPIRE").arg(hash).arg(self.expire_secs).to_owned());
        cmds
    }

    /// Members of each room on all servers that told theirs lately: those of
    /// Rust logics, and `known` ones.
    pub(super) async fn totals(
        &self,
        known: BTreeSet<String>,
    ) -> Result<HashMap<String, i32>, Unavailable> {
        let oldest = now_secs().saturating_sub_unsigned(self.told_expire.as_secs());
        let mut told = cmd("ZRANGEBYSCORE");
        told.arg(SERVERS).arg(oldest).arg("+inf");
        let mut servers = known;
        servers.extend(self.redis.query::<Vec<String>>(&told).await?);
        let gets: Vec<Cmd> = servers
            .iter()
            .map(|server| cmd("HVALS").arg(hash_of(server)).to_owned())
            .collect();
        let hashes: Vec<Vec<Vec<u8>>> = self.redis.query_all(&gets).await?;
        let mut totals: HashMap<String, i32> = HashMap::new();
        for hash in &hashes {
            add(&mut totals, hash, oldest);
        }
        Ok(totals)
    }
}

/// Adds the rooms of one server; what is too old or makes no sense is left out.
fn add(totals: &mut HashMap<String, i32>, hash: &[Vec<u8>], oldest: i64) {
    let fields: Vec<Field> = hash
        .iter()
        .filter_map(|json| serde_json::from_slice(json).ok())
        .collect();
    let newest = fields.iter().map(|field| field.updated).max();
    let oldest = newest.map_or(oldest, |newest| oldest.max(newest - TELLING_SECS));
    let fields = fields.into_iter().filter(|field| field.updated > oldest);
    for (room, count) in fields.flat_map(|field| field.room_count) {
        let total = totals.entry(room).or_default();
        *total = total.saturating_add(count);
    }
}

fn hash_of(server: &str) -> String {
    ["ol_", server].concat()
}

fn now_secs() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(rooms: &str, updated: i64) -> Vec<u8> {
        format!(r#"{{"server":"s","room_count":{{{rooms}}},"updated":{updated}}}"#).into_bytes()
    }

    fn totals(hash: &[Vec<u8>], oldest: i64) -> Vec<(String, i32)> {
        let mut totals = HashMap::new();
        add(&mut totals, hash, oldest);
        let mut totals: Vec<_> = totals.into_iter().collect();
        totals.sort();
        totals
    }

    #[test]
    fn ghosts_and_nonsense_do_not_count() {
        let hash = [
            field(r#""live://1":2"#, 1000),
            field(r#""live://2":3"#, 999),
            field(r#""live://3":4"#, 900),
            b"{".to_vec(),
            field(r#""live://4":"x""#, 1000),
        ];
        let expected = [("live://1".to_owned(), 2), ("live://2".to_owned(), 3)];

        assert_eq!(totals(&hash, 700), expected);
        assert_eq!(totals(&hash, 999), expected[..1]);
        assert_eq!(totals(&hash, 1000), []);
    }
}
