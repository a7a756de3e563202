use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn binding(mid: i64, key: &str, server: &str, connection: u64) -> Binding {
    Binding {
        mid,
        key: key.to_owned(),
        server: server.to_owned(),
        connection,
    }
}

fn sessions() -> MemorySessions {
    MemorySessions::new(MemorySessionsConfig::default())
}

#[tokio::test(start_paused = true)]
async fn a_binding_outlives_the_longest_renewal_interval() {
    let sessions = sessions();
    sessions.bind(binding(1, "a", "s", 1)).await.unwrap();

    for _ in 0..3 {
        tokio::time::advance(Duration::from_mins(34)).await;
        assert!(sessions.of_keys(&["a".to_owned()]).await.unwrap()[0].is_some());
        sessions.renew(binding(1, "a", "s", 1)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_nobody_renews_expires_and_is_swept() {
    let sessions = sessions();
    for n in 0..1000 {
        let key = format!("key-{n}");
        sessions.bind(binding(7, &key, "s", 1)).await.unwrap();
    }

    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(sessions.of_mids(&[7]).await.unwrap(), [[]]);
    assert_eq!(
        sessions.of_keys(&["key-1".to_owned()]).await.unwrap(),
        [None]
    );
    assert!(!sessions.unbind_if(7, "key-1", "s", Some(1)).await.unwrap());
    sessions.renew(binding(7, "key-2", "s", 1)).await.unwrap();
    for _ in 0..SHARDS {
        sessions.set_online("s", HashMap::new()).await.unwrap();
    }

    assert_eq!(sessions.bindings(), 1);
    let left = [("key-2".to_owned(), Arc::from("s"))];
    assert_eq!(sessions.of_mids(&[7]).await.unwrap(), [left]);
}

#[tokio::test]
async fn sessions_that_begin_anew_have_another_epoch() {
    let [before, after] = [sessions(), sessions()];

    assert_ne!(before.epoch().await.unwrap(), after.epoch().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn rooms_of_a_silent_server_stop_counting() {
    let sessions = sessions();
    let rooms = |count| HashMap::from([("live://1".to_owned(), count)]);
    sessions.set_online("silent", rooms(2)).await.unwrap();
    tokio::time::advance(Duration::from_secs(299)).await;
    sessions.set_online("alive", rooms(3)).await.unwrap();
    assert_eq!(sessions.online().await.unwrap(), rooms(5));

    tokio::time::advance(Duration::from_secs(1)).await;

    assert_eq!(sessions.online().await.unwrap(), rooms(3));
}

#[tokio::test]
async fn limits_refuse_what_exceeds_them() {
    let sessions = MemorySessions::new(MemorySessionsConfig {
        bindings_max: 2,
        servers_max: 1,
        ..MemorySessionsConfig::default()
    });
    sessions.bind(binding(1, "a", "s", 1)).await.unwrap();
    sessions.bind(binding(1, "b", "s", 2)).await.unwrap();

    assert!(sessions.bind(binding(1, "c", "s", 3)).await.is_err());
    assert!(sessions.bind(binding(1, "a", "t", 4)).await.is_err());
    sessions.bind(binding(1, "a", "s", 5)).await.unwrap();
    assert!(sessions.unbind_if(1, "a", "s", Some(5)).await.unwrap());
    sessions.bind(binding(1, "c", "s", 6)).await.unwrap();
}

/// Bytes that the allocator hands out for `bytes` (jemalloc's size classes).
fn allocated(bytes: usize) -> usize {
    match bytes {
        0..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

#[tokio::test]
async fn a_binding_takes_at_most_100_bytes() {
    // Just above a doubling of tables of equal size, and between two of them.
    for bindings in [40_000_usize, 60_000, 80_000] {
        let sessions = sessions();
        for n in 0..bindings {
            let key = format!("6ba7b810-9dad-11d1-80b4-{n:012}");
            let mid = i64::try_from(n).unwrap() + 1;
            sessions.bind(binding(mid, &key, "s", 1)).await.unwrap();
        }

        let shards = sessions
            .shards
            .iter()
            .map(|shard| shard.lock().table_bytes());
        let users = sessions
            .users
            .iter()
            .map(|users| users.lock().table_bytes());
        let tables: usize = shards.chain(users).sum();
        // Keys lie together, a chunk's at a time.
        let keys = allocated(36 * chunk::SLOTS) / chunk::SLOTS;
        let each = tables / bindings + keys;
        println!("{bindings} bindings: {each} bytes each");
        assert!(each <= 100, "{bindings} bindings take {each} bytes each");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Bind(Binding),
    Renew(Binding),
    Unbind(Binding, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let binding = (-1_i64..4, 0..6, 0..3, 0_u64..4).prop_map(|(mid, key, server, connection)| {
        binding(
            mid,
            &format!("key-{key}"),
            &format!("server-{server}"),
            connection,
        )
    });
    let step = prop_oneof![
        binding.clone().prop_map(Step::Bind),
        binding.clone().prop_map(Step::Renew),
        (binding, any::<bool>()).prop_map(|(binding, exact)| Step::Unbind(binding, exact)),
    ];
    proptest::collection::vec(step, 0..200)
}

/// The same in a plain map.
#[derive(Default)]
struct Model(BTreeMap<String, Binding>);

impl Model {
    fn bind(&mut self, binding: Binding) {
        let is_late = self.0.get(&binding.key).is_some_and(|bound| {
            bound.server == binding.server && bound.connection > binding.connection
        });
        if binding.connection == 0 || !is_late {
            self.0.insert(binding.key.clone(), binding);
        }
    }

    fn renew(&mut self, binding: Binding) {
        let bound = self.0.get(&binding.key);
        if bound.is_none_or(|bound| bound.server == binding.server) {
            self.bind(binding);
        }
    }

    fn unbind(&mut self, by: &Binding, exact: bool) -> bool {
        let is_its = self.0.get(&by.key).is_some_and(|bound| {
            bound.server == by.server && (!exact || bound.connection <= by.connection)
        });
        is_its && self.0.remove(&by.key).is_some()
    }

    fn of_mid(&self, mid: i64) -> Vec<(String, Arc<str>)> {
        let bound = self.0.values().filter(|bound| mid > 0 && bound.mid == mid);
        bound
            .map(|bound| (bound.key.clone(), Arc::from(bound.server.as_str())))
            .collect()
    }
}

proptest! {
    #[test]
    fn sessions_equal_a_plain_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sessions = sessions();
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Bind(binding) => {
                        sessions.bind(binding.clone()).await.unwrap();
                        model.bind(binding);
                    }
                    Step::Renew(binding) => {
                        sessions.renew(binding.clone()).await.unwrap();
                        model.renew(binding);
                    }
                    Step::Unbind(by, exact) => {
                        let connection = exact.then_some(by.connection);
                        let removed = sessions
                            .unbind_if(by.mid, &by.key, &by.server, connection)
                            .await
                            .unwrap();
                        assert_eq!(removed, model.unbind(&by, exact));
                    }
                }
                let keys: Vec<String> = (0..6).map(|key| format!("key-{key}")).collect();
                let servers = keys
                    .iter()
                    .map(|key| model.0.get(key).map(|bound| Arc::from(bound.server.as_str())));
                let servers: Vec<Option<Arc<str>>> = servers.collect();
                assert_eq!(sessions.of_keys(&keys).await.unwrap(), servers);
                let mids: Vec<i64> = (-1..4).collect();
                let found = sessions.of_mids(&mids).await.unwrap();
                assert_eq!(found.len(), mids.len());
                for (mid, mut found) in mids.into_iter().zip(found) {
                    found.sort();
                    assert_eq!(found, model.of_mid(mid));
                }
                assert_eq!(sessions.bindings(), model.0.len());
            }
        });
    }
}
