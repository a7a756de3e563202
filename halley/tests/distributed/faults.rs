//! Something dies while pushes are under way. `make faults` does this for
//! longer, and with more faults.

use std::time::{Duration, Instant};

use halley_client::Transport;
use halley_tests::cluster::Cluster;
use halley_tests::load::{Account, Counts, Load, Options};

use crate::support::{Client, PATIENCE, found, push, push_ok};

/// Time for a load to run before and after the fault.
const CALM: Duration = Duration::from_secs(1);
/// `job.push_deadline` as the cluster has it.
const PUSH_DEADLINE: Duration = Duration::from_secs(30);
/// How long a push takes at the most while nothing is wrong.
const DELIVERED_AFTER: Duration = Duration::from_secs(2);
/// `push_log.kafka.producer.delivery_timeout` and a little for the way.
const ANSWER_MAX: Duration = Duration::from_secs(12);

async fn under_load(
    cluster: &mut Cluster,
    name: &str,
    owed_after: Duration,
    fault: impl AsyncFnOnce(&mut Cluster),
) -> Account {
    let counts = Counts::watch(cluster.nodes().map(|node| node.admin).collect()).await;
    let options = Options {
        run: name.to_owned(),
        http: cluster.logics.iter().map(|logic| logic.http).collect(),
        users: 48,
        rooms: 2,
        user_pushes_per_second: 100,
        room_pushes_per_second: 10,
        push_deadline: PUSH_DEADLINE,
        owed_after,
    };
    let load = Load::start(options).await.expect("a load");
    tokio::time::sleep(CALM).await;
    fault(cluster).await;
    tokio::time::sleep(CALM).await;
    let account = load.finish(&counts).await;
    assert!(account.delivered > 0, "{account:?}");
    assert_eq!(
        account.unaccounted + account.misordered + account.foreign + account.unknown,
        0,
        "{account:?}"
    );
    assert_eq!(account.offline_connected, 0, "{account:?}");
    account
}

pub(crate) async fn a_killed_comet_loses_nothing_silently(cluster: &mut Cluster) {
    under_load(cluster, "killed-comet", PUSH_DEADLINE, async |cluster| {
        let comet = &mut cluster.comets[0].node;
        comet.kill().expect("killed");
        comet.start().expect("started");
        comet.ready().await.expect("ready");
    })
    .await;
}

pub(crate) async fn a_killed_logic_loses_nothing(cluster: &mut Cluster) {
    let account = under_load(cluster, "killed-logic", PUSH_DEADLINE, async |cluster| {
        let logic = &mut cluster.logics[1].node;
        logic.kill().expect("killed");
        logic.start().expect("started");
        logic.ready().await.expect("ready");
    })
    .await;
    assert_eq!(account.accepted, account.delivered, "{account:?}");
}

pub(crate) async fn a_killed_job_loses_nothing(cluster: &mut Cluster) {
    let account = under_load(cluster, "killed-job", PUSH_DEADLINE, async |cluster| {
        let job = &mut cluster.jobs[0];
        job.kill().expect("killed");
        job.start().expect("started");
        job.ready().await.expect("ready");
    })
    .await;
    assert_eq!(account.accepted, account.delivered, "{account:?}");
}

pub(crate) async fn a_drained_comet_sends_its_clients_on(cluster: &mut Cluster) {
    under_load(cluster, "drained-comet", DELIVERED_AFTER, async |cluster| {
        let comet = &mut cluster.comets[1].node;
        let status = comet.drain().await.expect("drained");
        assert!(status.success(), "{status}");
        comet.start().expect("started");
        comet.ready().await.expect("ready");
    })
    .await;
}

pub(crate) async fn an_emptied_redis_is_filled_again(cluster: &mut Cluster) {
    let http = cluster.logics[0].http;
    let user = (88, "kept", "live://kept");
    let mut client = Client::log_in(Transport::Tcp, cluster.comets[2].tcp, user).await;
    push_ok(http, "keys?keys=kept", "before", 1).await;
    assert_eq!(client.message().await, "before");

    cluster.redis.kill();
    cluster.redis.restart().expect("restarted");

    for what in ["keys?keys=kept", "mids?mids=88"] {
        found("the key is bound again", async || {
            let answer = push(http, what, "after").await;
            (answer.body["data"]["accepted"] == 1).then_some(())
        })
        .await;
        assert_eq!(client.message().await, "after");
    }
}

pub(crate) async fn without_a_broker_pushes_are_refused_in_time(cluster: &mut Cluster) {
    let http = cluster.logics[0].http;
    let user = (89, "waiting", "live://waiting");
    let mut client = Client::log_in(Transport::Websocket, cluster.comets[0].websocket, user).await;

    cluster.kafka.kill(0);
    let asked = Instant::now();
    let answer = push(http, "keys?keys=waiting", "lost").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.retry_after.is_some(), "{answer:?}");
    assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());

    cluster.kafka.restart(0).expect("restarted");
    let until = Instant::now() + PATIENCE;
    while push(http, "keys?keys=waiting", "again").await.status != 200 {
        assert!(Instant::now() < until, "the broker is back, pushes are not");
    }
    // The first one may have reached the log after all.
    while client.message().await != "again" {}
}
