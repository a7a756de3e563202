use super::*;

const GRACE: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(15);

fn node(hostname: &str) -> NodeStatus {
    NodeStatus {
        hostname: hostname.to_owned(),
        ..NodeStatus::default()
    }
}

fn answer(alive: &[&str], lease: Option<Duration>, missing: Missing) -> Answer {
    Answer {
        alive: alive.iter().map(|name| (node(name), lease)).collect(),
        left: Vec::new(),
        missing,
    }
}

fn names(roster: &Roster) -> Option<Vec<String>> {
    let snapshot = roster.watch().borrow().clone();
    snapshot.map(|nodes| nodes.iter().map(|node| node.hostname.clone()).collect())
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_first_answer() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.unanswered();
    assert_eq!(names(&roster), None);

    roster.answered(Some(answer(&[], None, Missing::Gone)));

    assert_eq!(names(&roster).unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_ends() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.answered(Some(answer(&["b", "a"], Some(LEASE), Missing::Stay)));
    assert_eq!(names(&roster).unwrap(), ["a", "b"]);

    tokio::time::advance(LEASE / 2).await;
    roster.answered(Some(answer(&["a"], Some(LEASE), Missing::Stay)));
    assert_eq!(names(&roster).unwrap(), ["a", "b"]);
    assert_eq!(roster.next_end(), Some(Instant::now() + LEASE / 2));

    tokio::time::advance(LEASE / 2).await;
    roster.answered(None);
    assert_eq!(names(&roster).unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_leaves_though_the_registry_often_does_not_answer() {
    let second = Duration::from_secs(1);
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.answered(Some(answer(&["a", "dead"], Some(LEASE), Missing::Stay)));

    for _ in 0..LEASE.as_secs() {
        tokio::time::advance(second).await;
        roster.answered(Some(answer(&["a"], Some(LEASE), Missing::Stay)));
        tokio::time::advance(second).await;
        roster.unanswered();
    }
    roster.answered(None);

    assert_eq!(names(&roster).unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn no_time_runs_out_while_the_registry_is_away() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.answered(Some(answer(&["a"], Some(LEASE), Missing::Stay)));

    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        roster.unanswered();
    }
    roster.answered(Some(answer(&[], None, Missing::Stay)));
    assert_eq!(names(&roster).unwrap(), ["a"]);

    tokio::time::advance(GRACE).await;
    roster.answered(Some(answer(&[], None, Missing::Stay)));
    assert_eq!(names(&roster).unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_left_in_order_is_gone_at_once() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.answered(Some(answer(&["a", "b"], Some(LEASE), Missing::Stay)));

    roster.answered(Some(Answer {
        alive: Vec::new(),
        left: vec!["a".to_owned()],
        missing: Missing::Stay,
    }));

    assert_eq!(names(&roster).unwrap(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn who_a_list_lost_has_the_grace_to_come_back() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    roster.answered(Some(answer(&["a", "b", "c"], None, Missing::Gone)));
    roster.answered(Some(answer(&["a", "b"], None, Missing::Gone)));
    assert_eq!(names(&roster).unwrap(), ["a", "b"]);

    // The registry lost its memory and gets to know its nodes again.
    roster.answered(Some(answer(&[], None, Missing::Stay)));
    roster.answered(Some(answer(&["a"], None, Missing::Gone)));
    assert_eq!(names(&roster).unwrap(), ["a", "b"]);

    tokio::time::advance(GRACE).await;
    roster.answered(None);
    assert_eq!(names(&roster).unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn of_one_name_the_node_that_started_last_counts() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    let started = |started_ms| NodeStatus {
        started_ms,
        ..node("a")
    };

    roster.answered(Some(Answer {
        alive: [2, 3, 1].map(|at| (started(at), None)).into(),
        left: Vec::new(),
        missing: Missing::Gone,
    }));

    let snapshot = roster.watch().borrow().clone().unwrap();
    assert_eq!(*snapshot, [started(3)]);
}

#[tokio::test(start_paused = true)]
async fn watchers_are_told_news_only() {
    let mut roster = Roster::new(Role::Comet, GRACE);
    let mut watch = roster.watch();
    roster.answered(Some(answer(&["a"], Some(LEASE), Missing::Stay)));
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();

    roster.answered(Some(answer(&["a"], Some(LEASE), Missing::Stay)));
    roster.answered(None);

    assert!(!watch.has_changed().unwrap());
}
