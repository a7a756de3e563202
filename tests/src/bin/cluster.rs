//! `make cluster`: a cluster on this machine for people to try.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use halley_tests::cluster::{Cluster, Options};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let halley = std::env::args().nth(1).context("usage: cluster HALLEY")?;
    let halley = PathBuf::from(halley);
    ensure!(halley.is_file(), "{} is no binary", halley.display());
    println!("starting Kafka, Redis, 2 logic, 2 job and 3 comet …");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut cluster = Cluster::start(&Options {
        is_for_people: true,
        // Seven processes share the cores with each other and with the engines: a second
        // thread of each would spend its time on waking the first.
        config: "[runtime]\nworker_threads = 1\n".to_owned(),
        ..Options::new(halley.clone())
    })
    .await?;
    println!("{}", advice(&cluster, &halley));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    println!("draining …");
    // Who is fed ends after who feeds it: comets last.
    for logic in &mut cluster.logics {
        logic.node.end().await?;
    }
    for job in &mut cluster.jobs {
        job.end().await?;
    }
    for comet in &mut cluster.comets {
        comet.node.end().await?;
    }
    Ok(())
}

fn advice(cluster: &Cluster, halley: &std::path::Path) -> String {
    let halley = halley.display();
    let mut lines = vec![String::new()];
    for comet in &cluster.comets {
        lines.push(format!(
            "  {:<8} tcp {:<16} websocket {:<16} metrics http://{}/metrics",
            comet.node.name,
            comet.tcp.to_string(),
            comet.websocket.to_string(),
            comet.node.admin
        ));
    }
    for logic in &cluster.logics {
        lines.push(format!("  {:<8} http {}", logic.node.name, logic.http));
    }
    for job in &cluster.jobs {
        lines.push(format!(
            "  {:<8} metrics http://{}/metrics",
            job.name, job.admin
        ));
    }
    lines.push(format!("  kafka    {}", cluster.kafka.brokers()));
    lines.push(format!("  redis    {}", cluster.redis.url()));
    lines.push(format!("  logs     {}", cluster.dir().display()));
    let comet = &cluster.comets[0];
    let http = cluster.logics[0].http;
    lines.push(format!(
        "\nTry, in other terminals:\n\
         \n  {halley} connect --key me --room live://1000\
         \n  curl -d 'hello, room' 'http://{http}/goim/push/room?operation=1000&type=live&room=1000'\
         \n  curl -d 'hello, you' 'http://{http}/goim/push/keys?operation=1000&keys=me'\
         \n  curl 'http://{http}/goim/online/total'\
         \n  {halley} stress room -n 1000 --rate 10 --duration 20s\
         \n  kill -9 {pid}   # {name}: clients reconnect elsewhere\
         \n\nCtrl-C drains and ends everything.",
        pid = comet.node.pid().unwrap_or_default(),
        name = comet.node.name,
    ));
    lines.join("\n")
}
