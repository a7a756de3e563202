//! What all sessions do.

use std::collections::HashMap;
use std::sync::Arc;

use halley_backend::sessions::{Binding, Sessions};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

fn binding(mid: i64, key: &str, server: &str, connection: u64) -> Binding {
    Binding {
        mid,
        key: key.to_owned(),
        server: server.to_owned(),
        connection,
    }
}

async fn server_of(sessions: &dyn Sessions, key: &str) -> Option<Arc<str>> {
    let found = sessions.of_keys(&[key.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap()
}

async fn of_mids(sessions: &dyn Sessions, mids: &[i64]) -> Vec<(String, String)> {
    let found = sessions.of_mids(mids).await.unwrap();
    assert_eq!(found.len(), mids.len());
    let mut found: Vec<_> = found
        .into_iter()
        .flatten()
        .map(|(key, server)| (key, server.to_string()))
        .collect();
    found.sort();
    found
}

fn pair(key: &str, server: &str) -> (String, String) {
    (key.to_owned(), server.to_owned())
}

pub(crate) async fn what_is_bound_is_found(sessions: Arc<dyn Sessions>) {
    for (mid, key, server) in [(1, "a", "s"), (1, "b", "t"), (2, "c", "s")] {
        sessions.bind(binding(mid, key, server, 1)).await.unwrap();
    }

    let keys = ["c", "nobody", "a", "b", "a"].map(str::to_owned);
    let servers = sessions.of_keys(&keys).await.unwrap();
    let servers: Vec<_> = servers.iter().map(Option::as_deref).collect();
    assert_eq!(servers, [Some("s"), None, Some("s"), Some("t"), Some("s")]);
    let expected = [pair("a", "s"), pair("b", "t"), pair("c", "s")];
    assert_eq!(of_mids(&*sessions, &[1, 3, 2]).await, expected);
    assert_eq!(of_mids(&*sessions, &[]).await, []);

    assert!(sessions.unbind_if(1, "a", "s", Some(1)).await.unwrap());
    assert!(!sessions.unbind_if(1, "a", "s", Some(1)).await.unwrap());
    assert_eq!(server_of(&*sessions, "a").await, None);
    assert_eq!(of_mids(&*sessions, &[1]).await, [pair("b", "t")]);
}

pub(crate) async fn the_newer_binding_of_a_key_wins(sessions: Arc<dyn Sessions>) {
    sessions.bind(binding(1, "a", "s", 1)).await.unwrap();
    sessions.bind(binding(2, "a", "t", 2)).await.unwrap();

    assert_eq!(server_of(&*sessions, "a").await.as_deref(), Some("t"));
    assert_eq!(of_mids(&*sessions, &[1]).await, []);
    assert_eq!(of_mids(&*sessions, &[2]).await, [pair("a", "t")]);
}

pub(crate) async fn a_late_unbind_leaves_the_newer_binding(sessions: Arc<dyn Sessions>) {
    sessions.bind(binding(1, "a", "s", 1)).await.unwrap();
    sessions.bind(binding(1, "a", "s", 2)).await.unwrap();
    assert!(!sessions.unbind_if(1, "a", "s", Some(1)).await.unwrap());
    sessions.bind(binding(1, "a", "t", 2)).await.unwrap();
    assert!(!sessions.unbind_if(1, "a", "s", Some(2)).await.unwrap());

    assert_eq!(server_of(&*sessions, "a").await.as_deref(), Some("t"));
    assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "t")]);
    assert!(sessions.unbind_if(1, "a", "t", Some(2)).await.unwrap());
}

pub(crate) async fn the_answer_to_an_earlier_login_leaves_the_later_binding(
    sessions: Arc<dyn Sessions>,
) {
    // Beyond what a floating point number tells apart.
    let (earlier, later) = ((1 << 62) + 1, (1 << 62) + 2);
    for (earlier, later) in [(earlier, later), (9, 10)] {
        sessions.bind(binding(1, "a", "s", later)).await.unwrap();
        sessions.bind(binding(2, "a", "s", earlier)).await.unwrap();

        assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "s")]);
        assert_eq!(of_mids(&*sessions, &[2]).await, []);
        // Mostly the user is the same.
        sessions.bind(binding(1, "a", "s", earlier)).await.unwrap();
        assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "s")]);
        for mid in [1, 2] {
            assert!(!unbind(&*sessions, &binding(mid, "a", "s", earlier)).await);
        }
        assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "s")]);
        assert!(unbind(&*sessions, &binding(1, "a", "s", later)).await);
    }
    // Whoever does not number connections has the last word.
    sessions.bind(binding(1, "a", "s", later)).await.unwrap();
    sessions.bind(binding(2, "a", "s", 0)).await.unwrap();
    assert_eq!(of_mids(&*sessions, &[2]).await, [pair("a", "s")]);
}

/// A client goes from one server to another and back, a thousand times, while
/// its old connections renew and unbind late, in any order, also at the very
/// time of a new login.
pub(crate) async fn the_newest_of_two_servers_in_turn_is_found(sessions: Arc<dyn Sessions>) {
    const TURNS: u64 = 1000;
    let mut random = StdRng::seed_from_u64(5);
    let mut old: Vec<Binding> = Vec::new();
    let mut offline = 0;
    for turn in 1..=TURNS {
        let server = ["s", "t"][usize::from(random.random::<bool>())];
        let newest = binding(1, "a", server, turn);
        match old.pop() {
            Some(late) if random.random() => {
                // Whether the old one still was bound depends on who came first.
                let (bound, _) =
                    tokio::join!(sessions.bind(newest.clone()), unbind(&*sessions, &late));
                bound.unwrap();
            }
            late => {
                sessions.bind(newest.clone()).await.unwrap();
                old.extend(late);
            }
        }
        old.shuffle(&mut random);
        while let Some(late) = old.pop_if(|_| random.random()) {
            if random.random() {
                sessions.renew(late.clone()).await.unwrap();
            }
            assert!(
                !unbind(&*sessions, &late).await,
                "{late:?} after {newest:?}"
            );
        }
        assert_eq!(server_of(&*sessions, "a").await.as_deref(), Some(server));
        assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", server)]);
        if random.random_ratio(1, 10) {
            assert!(unbind(&*sessions, &newest).await);
            assert_eq!(server_of(&*sessions, "a").await, None);
            assert_eq!(of_mids(&*sessions, &[1]).await, []);
            offline += 1;
        } else {
            old.push(newest);
        }
    }
    assert!((1..TURNS).contains(&offline));
}

async fn unbind(sessions: &dyn Sessions, of: &Binding) -> bool {
    sessions
        .unbind_if(of.mid, &of.key, &of.server, Some(of.connection))
        .await
        .unwrap()
}

pub(crate) async fn a_peer_without_connection_numbers_unbinds_by_server(
    sessions: Arc<dyn Sessions>,
) {
    sessions.bind(binding(1, "a", "s", 0)).await.unwrap();

    assert!(!sessions.unbind_if(1, "a", "t", None).await.unwrap());
    assert!(sessions.unbind_if(1, "a", "s", None).await.unwrap());
    assert_eq!(of_mids(&*sessions, &[1]).await, []);
}

pub(crate) async fn a_binding_made_twice_is_one(sessions: Arc<dyn Sessions>) {
    for _ in 0..2 {
        sessions.bind(binding(1, "a", "s", 7)).await.unwrap();
        sessions.renew(binding(1, "a", "s", 7)).await.unwrap();
    }

    assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "s")]);
    assert!(sessions.unbind_if(1, "a", "s", Some(7)).await.unwrap());
    assert_eq!(server_of(&*sessions, "a").await, None);
    assert_eq!(of_mids(&*sessions, &[1]).await, []);
}

pub(crate) async fn renewal_binds_again_what_is_gone(sessions: Arc<dyn Sessions>) {
    sessions.renew(binding(1, "a", "s", 7)).await.unwrap();

    assert_eq!(server_of(&*sessions, "a").await.as_deref(), Some("s"));
    assert_eq!(of_mids(&*sessions, &[1]).await, [pair("a", "s")]);
    assert!(sessions.unbind_if(1, "a", "s", Some(7)).await.unwrap());
}

pub(crate) async fn renewal_leaves_a_newer_binding(sessions: Arc<dyn Sessions>) {
    sessions.bind(binding(1, "a", "t", 2)).await.unwrap();

    sessions.renew(binding(1, "a", "s", 1)).await.unwrap();

    assert_eq!(server_of(&*sessions, "a").await.as_deref(), Some("t"));
}

/// What the later one wrote may be lost, by a failover or with the sessions: then
/// a late renewal of the earlier one can be the first.
pub(crate) async fn a_later_connection_of_the_server_has_the_key(sessions: Arc<dyn Sessions>) {
    for (earlier, later) in [((1 << 62) + 1, (1 << 62) + 2), (9, 10)] {
        let (earlier, later) = (binding(1, "a", "s", earlier), binding(2, "a", "s", later));
        sessions.renew(earlier.clone()).await.unwrap();

        sessions.renew(later.clone()).await.unwrap();
        assert_eq!(of_mids(&*sessions, &[2]).await, [pair("a", "s")]);
        assert_eq!(of_mids(&*sessions, &[1]).await, []);
        sessions.renew(earlier.clone()).await.unwrap();
        assert!(!unbind(&*sessions, &earlier).await);
        assert_eq!(of_mids(&*sessions, &[2]).await, [pair("a", "s")]);
        assert!(unbind(&*sessions, &later).await);

        sessions.bind(earlier).await.unwrap();
        assert!(unbind(&*sessions, &later).await);
        assert_eq!(server_of(&*sessions, "a").await, None);
    }
}

pub(crate) async fn anonymous_users_are_not_found_by_user(sessions: Arc<dyn Sessions>) {
    sessions.bind(binding(0, "a", "s", 1)).await.unwrap();
    sessions.bind(binding(-5, "b", "s", 2)).await.unwrap();

    assert_eq!(of_mids(&*sessions, &[0, -5]).await, []);
    assert_eq!(server_of(&*sessions, "b").await.as_deref(), Some("s"));
    assert!(sessions.unbind_if(-5, "b", "s", Some(2)).await.unwrap());
}

pub(crate) async fn rooms_that_became_empty_vanish(sessions: Arc<dyn Sessions>) {
    let rooms = |rooms: &[(&str, i32)]| -> HashMap<String, i32> {
        rooms
            .iter()
            .map(|(room, count)| ((*room).to_owned(), *count))
            .collect()
    };
    let (one, two) = (("live://1", 2), ("live://2", 3));
    sessions.set_online("s", rooms(&[one, two])).await.unwrap();
    sessions.set_online("t", rooms(&[one])).await.unwrap();
    let both = sessions.online().await.unwrap();
    assert_eq!(both, rooms(&[("live://1", 4), two]));

    sessions.set_online("s", rooms(&[one])).await.unwrap();
    assert_eq!(sessions.online().await.unwrap(), rooms(&[("live://1", 4)]));
    sessions.set_online("s", rooms(&[])).await.unwrap();
    assert_eq!(sessions.online().await.unwrap(), rooms(&[one]));
}

pub(crate) async fn the_epoch_stays_while_nothing_is_lost(sessions: Arc<dyn Sessions>) {
    let epoch = sessions.epoch().await.unwrap();
    assert!(epoch.is_some());

    sessions.bind(binding(1, "a", "s", 1)).await.unwrap();

    assert_eq!(sessions.epoch().await.unwrap(), epoch);
}
